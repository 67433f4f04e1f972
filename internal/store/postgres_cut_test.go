package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// proxy stands between a journal and its server, and cuts the next commit when it is told how.
type proxy struct {
	to  string
	how atomic.Int32 // one of the cuts; it holds for one commit
	cut chan struct{}
}

const (
	never  int32 = iota
	before       // the server never hears of the commit
	after        // the server has done it, its answer is lost
	amid         // the server has heard of it, and may be at it
)

// cancelCode begins the message by which a client asks for the end of what it sent over another connection.
const cancelCode = 80877102

// proxied is the URL by way of a proxy.
func proxied(t *testing.T, at string) (string, *proxy) {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: u.Host, cut: make(chan struct{}, 1)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	u.Host = l.Addr().String()
	return u.String(), p
}

func (p *proxy) carry(client net.Conn) {
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = client.Close()
		return
	}
	var mute atomic.Bool
	answered := make(chan struct{}, 1)
	var back sync.WaitGroup
	back.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			if n > 0 && mute.Load() {
				answered <- struct{}{}
				return
			}
			if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
				_ = client.Close()
				return
			}
		}
	})
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if n == 16 && binary.BigEndian.Uint32(buf[4:]) == cancelCode {
			break // a network that fails loses these too
		}
		if how := p.how.Load(); how != never && bytes.HasSuffix(buf[:n], []byte("commit\x00")) && p.how.CompareAndSwap(how, never) {
			mute.Store(how == after)
			if how != before {
				_, _ = server.Write(buf[:n])
			}
			if how == after {
				<-answered
			}
			p.cut <- struct{}{}
			break
		}
		if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
			break
		}
	}
	_ = client.Close()
	_ = server.Close()
	back.Wait()
}

func TestPostgres_settlesACommitWhoseAnswerWasLostByLooking(t *testing.T) {
	at := postgres.URL(t)
	at, p := proxied(t, at)
	wrote := 0
	d := openAt(t, at, WithAmid(Options{}, func(string) { wrote++ }))
	d.db.SetMaxOpenConns(1) // also when there is no other connection to look by
	begun(t, d, "run-1")
	l := d.Ledger(Origin{})
	r := &rotate.Rotation{
		ID: "rot-1", State: rotate.Requested, Account: account, User: "ci", UserID: "AIDACI", StartedAt: noon,
		Old: rotate.KeyRecord{ID: "AKIAOLD", Active: true, Created: noon},
	}
	q := &rotate.Request{
		ID: "req-1", Account: account, User: "u", UserID: "AIDA", Reason: "r", Destination: "d", AskedBy: "ana", AskedAt: noon, State: rotate.RequestPending,
	}
	for _, how := range []int32{before, after} {
		for _, write := range []struct {
			what string
			do   func() error
		}{
			{"begin a run", func() error {
				return d.Begin(t.Context(), journal.Run{ID: fmt.Sprint("run-2-", how), Kind: journal.Apply, Account: account, StartedAt: noon})
			}},
			{"append", func() error { _, err := appendTo(t, d, "run-1", journal.Left, journal.NotDue); return err }},
			{"begin a rotation", func() error {
				r.ID, r.UserID, r.State, r.Version, r.Sealed = fmt.Sprint("rot-", how), fmt.Sprint("AIDACI", how), rotate.Requested, 0, nil
				return l.Begin(t.Context(), r, rotate.Event{At: noon, To: rotate.Requested})
			}},
			{"save a rotation", func() error {
				r.State = rotate.Creating
				return l.Save(t.Context(), r, rotate.Event{At: noon, From: rotate.Requested, To: rotate.Creating, Name: rotate.SlotFree})
			}},
			{"save without events", func() error { r.Why = "x"; return l.Save(t.Context(), r) }},
			{"ask", func() error {
				q.ID, q.State, q.Version, q.DecidedBy, q.KeyID = fmt.Sprint("req-", how), rotate.RequestPending, 0, "", ""
				return l.AskKey(t.Context(), q)
			}},
			{"decide", func() error {
				q.State, q.DecidedBy, q.DecidedAt = rotate.RequestApproved, "bob", noon
				return l.DecideRequest(t.Context(), q)
			}},
			{"save a request", func() error { q.State, q.KeyID = rotate.RequestMade, "AKIANEW"; return l.SaveRequest(t.Context(), q) }},
		} {
			wrote = 0
			p.how.Store(how)
			if err := write.do(); err != nil {
				t.Fatalf("%s, cut %d: %v", write.what, how, err)
			}
			<-p.cut
			want := map[int32]int{before: 2, after: 1}[how] // once more where the server never heard of it, and only there
			if wrote != want {
				t.Errorf("%s, cut %d: it was written %d times, want %d", write.what, how, wrote, want)
			}
		}
		if r.Version != 3 || q.Version != 3 {
			t.Errorf("cut %d: the rotation has version %d, the request %d", how, r.Version, q.Version)
		}
	}
	hasEntries(t, d, 1+2*(1+1+2+1))
}

// The server may still be at it when it is asked: what it will do in a moment must not be taken for undone.
func TestPostgres_waitsForACommitThatIsUnderWay(t *testing.T) {
	direct := postgres.URL(t)
	at, p := proxied(t, direct)
	wrote := 0
	d := openAt(t, at, WithAmid(Options{}, func(string) { wrote++ }))
	begun(t, d, "run-1")
	other := openAt(t, direct, Options{})
	exec(t, other, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$`)
	exec(t, other, `CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	hold, err := other.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(42)`); err != nil {
		t.Fatal(err)
	}
	p.how.Store(amid)
	done := make(chan error, 1)
	wrote = 0
	go func() { _, err := appendTo(t, d, "run-1", journal.Intent, ""); done <- err }()
	<-p.cut
	until(t, "it asks what became of the commit", func() bool {
		var n int
		err := other.db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%pg_xact_status%'`).Scan(&n)
		return err == nil && n > 0
	})
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	if err := hold.Rollback(); err != nil { // the commit goes on
		t.Fatal(err)
	}
	if err := <-done; err != nil || wrote != 1 {
		t.Errorf("written %d times, %v", wrote, err)
	}
	hasEntries(t, d, 2)
}

func TestPostgres_saysThatNobodyKnowsWhereNobodyCanLook(t *testing.T) {
	at, p := proxied(t, postgres.URL(t))
	d := openAt(t, at, Options{})
	p.how.Store(after)
	err := d.write(t.Context(), "other", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO key_uses VALUES ('111122223333', 'AKIA', $1, '', '', $1)`, journal.Stamp(noon))
		return err
	}, nil)
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Problem, "is not known") || e.Hint == "" {
		t.Errorf("got %v", err)
	}
}

func TestCopy_isMadeOnceWhenTheAnswerToItsCommitIsLost(t *testing.T) {
	for how, want := range map[int32]int{before: 2, after: 1} {
		source, _ := rotated(t, t.TempDir()+"/journal.db")
		at, p := proxied(t, postgres.URL(t))
		target := openAt(t, at, Options{})
		times := 0
		p.how.Store(how)
		err := Copy(t.Context(), source, target, func(table string, _ int64) {
			if table == "entries" {
				times++
			}
		})
		if err != nil || times != want {
			t.Errorf("cut %d: copied %d times, %v, want %d", how, times, err, want)
		}
		<-p.cut
		c, err := Compare(t.Context(), source, target)
		if err != nil || c.Count != 0 {
			t.Errorf("cut %d: %+v, %v", how, c, err)
		}
	}
}

func TestPostgres_lockBearsAsMuchOfTheNameOfItsHolderAsThereIsRoomFor(t *testing.T) {
	d := openAt(t, postgres.URL(t), Options{})
	long := strings.Repeat("a", holderRoom-1) + "é and more"
	release, err := d.Lock(t.Context(), account, long)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	var held *HeldError
	if _, err := d.Lock(t.Context(), account, "x"); !errors.As(err, &held) || held.Holder != strings.Repeat("a", holderRoom-1)+"?" {
		t.Errorf("got %v", err)
	}
}
