package web_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/web"
)

func TestServe_finishesWhatIsUnderWay(t *testing.T) {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun, goOn := make(chan bool), make(chan bool)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun <- true
		<-goOn
		_, _ = io.WriteString(w, "whole")
	})
	ctx, stop := context.WithCancel(context.Background())
	served, answered := make(chan error), make(chan string)
	go func() { served <- web.Serve(ctx, on, h, time.Minute) }()
	go func() {
		res, err := http.Get("http://" + on.Addr().String())
		if err != nil {
			answered <- err.Error()
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, err := io.ReadAll(res.Body)
		answered <- string(body) + map[bool]string{false: " cut off"}[err == nil]
	}()
	<-begun
	stop()
	goOn <- true
	if got := <-answered; got != "whole" {
		t.Errorf("answered %q, want whole", got)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", on.Addr().String()); err == nil {
		t.Error("somebody still listens")
	}
}

func TestServe_cutsOffWhatTakesTooLong(t *testing.T) {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan bool)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- true
		<-r.Context().Done()
	})
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- web.Serve(ctx, on, h, time.Nanosecond) }()
	go func() {
		if res, err := http.Get("http://" + on.Addr().String()); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-begun
	stop()
	if err := <-served; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve: %v, want that it was not finished in time", err)
	}
}
