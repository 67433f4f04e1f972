package web_test

import (
	"context"
	"flag"
	"net/http"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oapi-codegen/oapi-codegen/v2/pkg/codegen"
)

var update = flag.Bool("update", false, "write the generated client anew")

// clientFile is a client that oapi-codegen makes from the document, as anybody may.
const clientFile = "client_gen_test.go"

func TestClient_isWhatTheDocumentMakes(t *testing.T) {
	text, err := codegen.Generate(document(t), codegen.Configuration{
		PackageName: "web_test", Generate: codegen.GenerateOptions{Client: true, Models: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(clientFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	held, err := os.ReadFile(clientFile)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(held), text); diff != "" {
		t.Errorf("%s is not what the document makes (-file +document); go test -update:\n%s", clientFile, diff)
	}
}

// The client knows the API by the document alone.
func TestClient_readsEveryEndpoint(t *testing.T) {
	c := open(t, story())
	api, err := NewClientWithResponses(c.url, WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
		req.Header.Set("Authorization", "Bearer "+c.token)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, one := context.Background(), 1
	health, err := api.GetHealthWithResponse(ctx)
	read(t, "health", err, health.JSON200 != nil && health.JSON200.Status == "ok")
	ready, err := api.GetReadyWithResponse(ctx)
	read(t, "ready", err, ready.JSON200 != nil && ready.JSON200.Status == "ready")
	doc, err := api.GetDocumentWithResponse(ctx)
	read(t, "document", err, doc.JSON200 != nil && (*doc.JSON200)["openapi"] == "3.0.3")
	accounts, err := api.ListAccountsWithResponse(ctx, &ListAccountsParams{Limit: &one})
	read(t, "accounts", err, accounts.JSON200 != nil && len(accounts.JSON200.Rows) == 1 && accounts.JSON200.Next != nil && accounts.JSON200.Rows[0].Id == "111122223333")
	next, err := api.ListAccountsWithResponse(ctx, &ListAccountsParams{Cursor: accounts.JSON200.Next})
	read(t, "the next page", err, next.JSON200 != nil && len(next.JSON200.Rows) == 1 && next.JSON200.Next == nil && next.JSON200.Rows[0].ReadAt == nil)
	user, status := "ana", ListVerdictsParamsStatus("fail")
	verdicts, err := api.ListVerdictsWithResponse(ctx, &ListVerdictsParams{User: &user, Status: &status})
	read(t, "verdicts", err, verdicts.JSON200 != nil && len(verdicts.JSON200.Rows) == 1 && verdicts.JSON200.Rows[0].Key.Id == "AKIAFAKE000000000011" && verdicts.JSON200.Rows[0].SeenAt.Equal(now))
	rotations, err := api.ListRotationsWithResponse(ctx, &ListRotationsParams{User: &user})
	read(t, "rotations", err, rotations.JSON200 != nil && len(rotations.JSON200.Rows) == 1 && rotations.JSON200.Rows[0].Targets[0].Status == "holds")
	rotation, err := api.GetRotationWithResponse(ctx, rotations.JSON200.Rows[0].Rotation)
	read(t, "rotation", err, rotation.JSON200 != nil && rotation.JSON200.Status == "proving")
	runs, err := api.ListRunsWithResponse(ctx, nil)
	read(t, "runs", err, runs.JSON200 != nil && len(runs.JSON200.Rows) == 1 && runs.JSON200.Rows[0].Outcomes["planned"] == 1)
	run, err := api.GetRunWithResponse(ctx, runs.JSON200.Rows[0].Run)
	read(t, "run", err, run.JSON200 != nil && len(run.JSON200.Steps) == 1 && run.JSON200.Steps[0].Action == "deactivate")
	none, err := api.GetRunWithResponse(ctx, "none")
	read(t, "no run", err, none.JSON404 != nil && none.JSON404.Hint != "")
	limit := 1001
	bad, err := api.ListRunsWithResponse(ctx, &ListRunsParams{Limit: &limit})
	read(t, "a bad question", err, bad.JSON400 != nil && bad.JSON400.Hint != "")
	c.token = "none"
	closed, err := api.ListRunsWithResponse(ctx, nil)
	read(t, "without a token", err, closed.JSON401 != nil && closed.JSON401.Hint != "")
}

func read(t *testing.T, what string, err error, as bool) {
	t.Helper()
	if err != nil || !as {
		t.Fatalf("%s: the client reads something else, %v", what, err)
	}
}
