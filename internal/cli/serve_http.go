package cli

import (
	"net/http"
)

// surface is what serve answers over HTTP.
func (a *app) surface(_ *service) (http.Handler, error) {
	return http.NotFoundHandler(), nil
}
