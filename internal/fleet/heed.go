package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/internal/daemon"
)

const (
	heedBack = time.Minute // a look asks for so much longer than since the last one: clocks differ

	// ownWord is for how long a failure here stands though others did well since: what is missing may be missing here, and the part
	// comes by at each beat. One that comes by daily is theirs at once.
	ownWord = 10 * time.Minute
)

// heed has the health of this machine tell what the queue knows, until ctx ends: which parts went well, whichever machine
// did them, and which accounts and rotations are in trouble.
func (f *fleet) heed(ctx context.Context) {
	for last := f.work.Now(); ctx.Err() == nil; _ = pause(ctx, f.Tick) {
		now := f.work.Now()
		if err := f.look(ctx, now, now.Sub(last)+heedBack); err == nil { // else the check of the server says so
			last = now
		}
	}
}

func (f *fleet) look(ctx context.Context, now time.Time, back time.Duration) error {
	accounts, err := f.trouble(ctx, collectArgs{}.Kind(), "account")
	if err != nil {
		return err
	}
	rotations, err := f.trouble(ctx, rotateArgs{}.Kind(), "rotation")
	if err != nil {
		return err
	}
	done, err := f.done(ctx, back)
	if err != nil {
		return err
	}
	f.work.Health.Note(daemon.Collect, accounts, now)
	stands := map[string]error{daemon.Rotations: rotations, daemon.Accounts: f.known.trouble()}
	tried := f.work.Health.Checks()
	for part, d := range done {
		failed := tried[part]
		own := failed.Err != nil && !d.here.After(failed.At) && now.Sub(failed.At) < ownWord && part != daemon.Retention
		if stands[part] == nil && part != missingPart && !own {
			f.work.Health.Heard(part, d.last)
		}
	}
	for part, err := range stands {
		if err != nil {
			f.work.Health.Note(part, err, now)
		}
	}
	return nil
}

// did is when a part was last done: by any machine, and by this one, zero for not lately.
type did struct{ last, here time.Time }

// done is when each part was last done.
func (f *fleet) done(ctx context.Context, back time.Duration) (map[string]did, error) {
	rows, err := f.pool.Query(ctx, `SELECT args ->> 'part', max(finalized_at), max(finalized_at) FILTER (WHERE attempted_by[cardinality(attempted_by)] = $3)
		FROM river_job WHERE kind = $1 AND state = 'completed' AND finalized_at > now() - $2::interval AND NOT metadata ? 'output' GROUP BY 1`,
		partArgs{}.Kind(), back, f.queue.ID())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]did{}
	for rows.Next() {
		var part string
		var d did
		var here *time.Time
		if err := rows.Scan(&part, &d.last, &here); err != nil {
			return nil, err
		}
		if here != nil {
			d.here = *here
		}
		out[part] = d
	}
	return out, rows.Err()
}

// trouble names what has a job that failed and was not done since; stands is nil where nothing has. One that was given up counts until
// another job about the same is done, or a day later.
func (f *fleet) trouble(ctx context.Context, kind, about string) (stands, err error) {
	var first, why string
	var all int
	err = f.pool.QueryRow(ctx, `SELECT id, why, count(*) OVER () FROM (
			SELECT DISTINCT ON (1) args ->> $2 AS id, split_part(errors[cardinality(errors)] ->> 'error', E'\n', 1) AS why FROM river_job j
			WHERE kind = $1 AND state IN ('retryable', 'available', 'running', 'scheduled', 'discarded') AND cardinality(errors) > 0
				AND NOT (state = 'discarded' AND EXISTS (SELECT FROM river_job l WHERE l.kind = $1 AND l.state = 'completed'
					AND l.args @> jsonb_build_object($2::text, j.args ->> $2) AND l.finalized_at > j.finalized_at))
			ORDER BY 1, j.id DESC) AS t
		ORDER BY 1 LIMIT 1`, kind, about).Scan(&first, &why, &all)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return daemon.Trouble(about+" "+first, all-1, errors.New(why)), nil
}
