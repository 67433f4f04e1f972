package awsiam_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
)

// The contract of a Writer, over our own fake and over moto.

// openWriter gives a Writer that never waits long. edit may be nil.
func openWriter(t *testing.T, url, account string, edit func(*awsiam.Settings)) *awsiam.Writer {
	t.Helper()
	s := awsiam.Settings{EndpointURL: url, Credentials: credentials("AKIAFAKE"+account, ""), BackoffCap: time.Millisecond}
	if edit != nil {
		edit(&s)
	}
	w, err := awsiam.OpenWriter(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// desk is an account with keys to act on: two of ana's, one of bob's, whom all act as.
type desk struct {
	emulator
	writer        *awsiam.Writer
	first, second string              // ana's keys
	bob           *awsiam.Credentials // an access key of a user who may do nothing by himself
}

func sit(t *testing.T, e emulator) desk {
	t.Helper()
	ctx := t.Context()
	api, _ := clients(e.url, contractAccount)
	key := func(user string) *types.AccessKey {
		out, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user})
		if err != nil {
			t.Fatal(err)
		}
		return out.AccessKey
	}
	e.setNow(day(0))
	for _, in := range []iam.CreateUserInput{
		{
			UserName: aws.String("ana"), Path: aws.String("/team/data/"),
			Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("a & b <c>")}},
		},
		{UserName: aws.String("bob")},
	} {
		if _, err := api.CreateUser(ctx, &in); err != nil {
			t.Fatal(err)
		}
	}
	e.setNow(day(1))
	first, second, bobs := key("ana"), key("ana"), key("bob")
	return desk{
		emulator: e, writer: openWriter(t, e.url, contractAccount, nil),
		first: *first.AccessKeyId, second: *second.AccessKeyId,
		bob: &awsiam.Credentials{ID: *bobs.AccessKeyId, Secret: fact.NewSecret(*bobs.SecretAccessKey)},
	}
}

func TestWriterContract(t *testing.T) {
	for _, e := range emulators(t) {
		t.Run(e.name, func(t *testing.T) {
			d := sit(t, e)
			t.Run("caller", d.caller)
			t.Run("user", d.user)
			t.Run("setActive", d.setActive)
			t.Run("may", d.may)
			t.Run("permissions", d.permissions)
			t.Run("lastUse", d.lastUse)
			t.Run("quarantined", d.quarantined)
			t.Run("deleteKey", d.deleteKey)
		})
	}
}

// expectKeys compares ana's keys, as active or not.
func (d desk) expectKeys(t *testing.T, want map[string]bool) {
	t.Helper()
	keys, err := d.writer.Keys(t.Context(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, k := range keys {
		got[k.ID] = k.Active
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ana's keys (-want +got):\n%s", diff)
	}
}

func (d desk) caller(t *testing.T) {
	got, err := d.writer.Caller(t.Context())
	if want := (fact.Account{ID: contractAccount, Partition: "aws"}); err != nil || !cmp.Equal(got.Account, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	ids, idErr := d.writer.KeyIDs(t.Context())
	sessions, err := d.writer.SessionUsers(t.Context())
	if err := errors.Join(idErr, err); err != nil || len(sessions) > 0 || !cmp.Equal(ids, []string{"AKIAFAKE" + contractAccount}) {
		t.Errorf("keys %v, sessions %v, %v", ids, sessions, err)
	}
}

func (d desk) user(t *testing.T) {
	same := cmp.Comparer(func(a, b fact.Time) bool { return a == b })
	for name, want := range map[string]fact.User{
		"ana": {
			Name: "ana", ARN: "arn:aws:iam::" + contractAccount + ":user/team/data/ana", Path: "/team/data/",
			Created: fact.At(day(0)), Tags: map[string]string{"owner": "a & b <c>"}, TagsRead: true,
		},
		"bob": {
			Name: "bob", ARN: "arn:aws:iam::" + contractAccount + ":user/bob", Path: "/",
			Created: fact.At(day(0)), Tags: map[string]string{}, TagsRead: true,
		},
	} {
		got, err := d.writer.User(t.Context(), name)
		if err != nil || got.ID == "" {
			t.Errorf("%s: id %q, %v", name, got.ID, err)
		}
		want.ID = got.ID
		if diff := cmp.Diff(want, got, same); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := d.writer.User(t.Context(), "nobody"); !errors.Is(err, awsiam.ErrNotFound) {
		t.Errorf("nobody: %v, want %v", err, awsiam.ErrNotFound)
	}
	d.only(t, nameCase, func() {
		if got, err := d.writer.User(t.Context(), "ANA"); err != nil || got.Name != "ana" {
			t.Errorf("ANA: %+v, %v, want ana", got, err)
		}
	})
}

func (d desk) setActive(t *testing.T) {
	ctx := t.Context()
	d.expectKeys(t, map[string]bool{d.first: true, d.second: true})
	for _, active := range []bool{false, false, true, true, false} { // also where it is so already
		if err := d.writer.SetActive(ctx, "ana", d.first, active); err != nil {
			t.Fatal(err)
		}
		d.expectKeys(t, map[string]bool{d.first: active, d.second: true})
	}
	for name, err := range map[string]error{
		"no such key":       d.writer.SetActive(ctx, "ana", "AKIANOSUCHKEY0000000", false),
		"no such user":      d.writer.SetActive(ctx, "nobody", d.first, false),
		"somebody else's":   d.writer.SetActive(ctx, "bob", d.second, false),
		"delete no key":     d.writer.DeleteKey(ctx, "ana", "AKIANOSUCHKEY0000000"),
		"delete no user's":  d.writer.DeleteKey(ctx, "nobody", d.first),
		"delete of another": d.writer.DeleteKey(ctx, "bob", d.second),
	} {
		if !errors.Is(err, awsiam.ErrNotFound) || errors.Is(err, fact.ErrUnclear) {
			t.Errorf("%s: %v, want %v and clear", name, err, awsiam.ErrNotFound)
		}
	}
	d.expectKeys(t, map[string]bool{d.first: false, d.second: true})
}

func (d desk) may(t *testing.T) {
	for _, user := range []string{"ana", "bob", "nobody"} {
		if err := errors.Join(d.writer.MaySetActive(t.Context(), user), d.writer.MayDelete(t.Context(), user)); err != nil {
			t.Errorf("%s: %v, want leave", user, err)
		}
	}
	d.expectKeys(t, map[string]bool{d.first: false, d.second: true})
}

func (d desk) permissions(t *testing.T) {
	defer d.unlimit()
	bob := openWriter(t, d.url, contractAccount, func(s *awsiam.Settings) { s.Credentials = d.bob })
	calls := map[string]func(context.Context, string) error{"MaySetActive": bob.MaySetActive, "MayDelete": bob.MayDelete}
	for name, c := range map[string]struct {
		actions []string
		denied  map[string]error
	}{
		"audit": {awsiam.AuditActions(), map[string]error{"MaySetActive": awsiam.ErrDenied, "MayDelete": awsiam.ErrDenied}},
		"look":  {awsiam.LookActions(), map[string]error{"MaySetActive": awsiam.ErrDenied, "MayDelete": awsiam.ErrDenied}},
		"no deletion": {
			append(awsiam.LookActions(), "iam:UpdateAccessKey"), map[string]error{"MayDelete": awsiam.ErrDenied},
		},
		"remediate": {awsiam.RemediateActions(), nil},
	} {
		d.limit(t, "bob", d.bob.ID, c.actions)
		for call, may := range calls {
			for _, user := range []string{"ana", "bob", "nobody"} { // the refusal comes before the look for the user
				if err := may(t.Context(), user); !errors.Is(err, c.denied[call]) || errors.Is(err, fact.ErrUnclear) {
					t.Errorf("%s: %s about %s: %v, want %v", name, call, user, err, c.denied[call])
				}
			}
		}
		if denied := c.denied["MaySetActive"]; denied != nil {
			if err := bob.SetActive(t.Context(), "ana", d.second, false); !errors.Is(err, denied) || errors.Is(err, fact.ErrUnclear) {
				t.Errorf("%s: deactivate: %v, want %v and clear", name, err, denied)
			}
		}
	}
	// All that a Writer does, with the policy for it and no more.
	d.limit(t, "bob", d.bob.ID, awsiam.RemediateActions())
	_, userErr := bob.User(t.Context(), "ana")
	_, keysErr := bob.Keys(t.Context(), "ana")
	_, useErr := bob.LastUse(t.Context(), d.second)
	_, quarantineErr := bob.Quarantined(t.Context(), "aws")
	if err := errors.Join(
		userErr, keysErr, useErr, quarantineErr,
		bob.SetActive(t.Context(), "ana", d.second, false), bob.SetActive(t.Context(), "ana", d.second, true),
	); err != nil {
		t.Error(err)
	}
	d.unlimit()
	d.expectKeys(t, map[string]bool{d.first: false, d.second: true})
}

func (d desk) lastUse(t *testing.T) {
	if got, err := d.writer.LastUse(t.Context(), d.second); err != nil || got != (fact.Use{At: fact.Never()}) {
		t.Errorf("%+v, %v, want never", got, err)
	}
	if got, err := d.writer.LastUse(t.Context(), d.bob.ID); err != nil || got.At != fact.At(day(1)) {
		t.Errorf("bob's: %+v, %v, want %v", got, err, day(1))
	}
}

func (d desk) quarantined(t *testing.T) {
	if got, err := d.writer.Quarantined(t.Context(), "aws"); err != nil || len(got) != 0 {
		t.Errorf("%v, %v, want nobody", got, err)
	}
}

func (d desk) deleteKey(t *testing.T) {
	for _, c := range []struct {
		id   string // inactive, then active
		left map[string]bool
	}{
		{d.first, map[string]bool{d.second: true}},
		{d.second, map[string]bool{}},
	} {
		if err := d.writer.DeleteKey(t.Context(), "ana", c.id); err != nil {
			t.Fatal(err)
		}
		d.expectKeys(t, c.left)
		if err := d.writer.DeleteKey(t.Context(), "ana", c.id); !errors.Is(err, awsiam.ErrNotFound) || errors.Is(err, fact.ErrUnclear) {
			t.Errorf("again: %v, want %v and clear", err, awsiam.ErrNotFound)
		}
	}
}
