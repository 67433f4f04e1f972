package moto_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
)

func TestStart_servesAndTakesOrders(t *testing.T) {
	s := moto.Start(t)
	s.SetNow(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))
	s.RunFrom(time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC))
	s.Reset()
	res, err := http.Get(s.URL() + "/moto-api/data.json")
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("HTTP %d, want 200", res.StatusCode)
	}
}
