package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// File is one credential report.
type File struct {
	Path string // for messages and the record; "-" for standard input
	Open func() (io.ReadCloser, error)
}

// Files judges credential reports, each of another account. A report that cannot be read whole is an error:
// credreport.Error for its content, InputError for a second report of one account.
func Files(ctx context.Context, files []File, opt Options) (*finding.Audit, error) {
	b := newBook(opt)
	seen := map[string]string{} // account id to path
	for _, f := range files {
		acc, err := b.file(ctx, f)
		if err != nil {
			return nil, err
		}
		if first, ok := seen[acc.Account.ID]; ok && acc.Account.ID != "" {
			return nil, &InputError{
				Problem: fmt.Sprintf("%q and %q are both reports of account %s", first, f.Path, acc.Account.ID),
				Hint:    "give the newest report of each account",
			}
		}
		seen[acc.Account.ID] = f.Path
		b.accounts = append(b.accounts, acc)
	}
	return b.finish()
}

// file judges one report while it streams by.
func (b *book) file(ctx context.Context, f File) (*account, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	var (
		mu    sync.Mutex
		acc   = &account{}
		spare []*tally
	)
	take := func() *tally {
		mu.Lock()
		defer mu.Unlock()
		if n := len(spare); n > 0 {
			t := spare[n-1]
			spare = spare[:n-1]
			return t
		}
		return b.tally()
	}
	// The counts of all batches are added up at the end, what is kept of each is in its own tally.
	report, err := credreport.Read(ctx, r, credreport.Options{Name: f.Path}, func(batch credreport.Batch) error {
		t := take()
		t.add(b, &batch.Account, fact.ReportFile, batch.Users)
		batch.Release() // what is kept of it was cloned
		mu.Lock()
		defer mu.Unlock()
		spare = append(spare, t)
		return nil
	})
	err = errors.Join(err, r.Close())
	if err != nil {
		return nil, err
	}
	acc.Account = report.Account
	acc.Users, acc.Keys, acc.ActiveKeys, acc.rootSeen = report.Users, report.Keys, report.ActiveKeys, report.HasRoot
	acc.Evidence = fact.Evidence{Source: fact.ReportFile, Path: f.Path, GeneratedAt: report.GeneratedAt, Newest: report.Newest}
	if len(spare) == 0 {
		spare = append(spare, b.tally())
	}
	for _, t := range spare {
		b.merge(acc, t)
	}
	if report.Users == 0 {
		acc.notes = append(acc.notes, fmt.Sprintf("%s lists no user", f.Path))
	}
	return acc, nil
}
