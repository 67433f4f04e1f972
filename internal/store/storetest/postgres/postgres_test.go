package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

func connect(t *testing.T, url string) error {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return err
	}
	return c.Close(t.Context())
}

func TestStart_servesUntilItIsStoppedAndAgainAfterwards(t *testing.T) {
	s := postgres.Start(t)
	url := s.URL(t)
	for _, mode := range []string{"fast", "immediate"} {
		if err := connect(t, url); err != nil {
			t.Fatal(err)
		}
		if err := s.Down(mode); err != nil {
			t.Fatal(err)
		}
		if connect(t, url) == nil {
			t.Errorf("stopped (%s), it still answers", mode)
		}
		if err := s.Up(); err != nil {
			t.Fatal(err)
		}
	}
	if err := connect(t, url); err != nil {
		t.Error(err)
	}
}

func TestURL_givesEachTestADatabaseOfItsOwn(t *testing.T) {
	one, two := postgres.URL(t), postgres.URL(t)
	if one == two {
		t.Errorf("both are %s", one)
	}
	for _, url := range []string{one, two} {
		if err := connect(t, url); err != nil {
			t.Error(err)
		}
	}
}
