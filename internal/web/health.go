package web

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.json
var openAPI []byte

// OpenAPI is the document (OpenAPI 3.0) that describes every answer.
func OpenAPI() []byte { return append([]byte(nil), openAPI...) }

type wireHealth struct {
	Status string `json:"status"` // ok
}

type wireReady struct {
	Status string      `json:"status"` // ready or waiting
	Checks []wireCheck `json:"checks"`
}

type wireCheck struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
}

// health says that the process answers, whatever else is the matter.
func (v *server) health(w http.ResponseWriter, r *http.Request) {
	v.send(w, r, http.StatusOK, wireHealth{"ok"})
}

// ready says whether all is well that has to be. Why something is not is for the log: anybody may ask.
func (v *server) ready(w http.ResponseWriter, r *http.Request) {
	answer, code := wireReady{Status: "ready", Checks: []wireCheck{}}, http.StatusOK
	if v.Ready != nil {
		for _, c := range v.Ready(r.Context()) {
			if c.Err != nil {
				answer.Status, code = "waiting", http.StatusServiceUnavailable
				v.Log.Warn("not ready", "check", c.Name, "error", c.Err)
			}
			answer.Checks = append(answer.Checks, wireCheck{c.Name, c.Err == nil})
		}
	}
	v.send(w, r, code, answer)
}

func (v *server) document(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, openAPI)
}
