package fleet

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Queue is the queue as others see it: a web server, or metrics. It only looks. It is safe for concurrent use.
type Queue struct {
	url  string
	pool *pgxpool.Pool
}

// Stand is how the queue stands.
type Stand struct {
	Accounts  Count
	Rotations Count
	Troubled  []Trouble // jobs that failed and were not done since, those with most failures first; 100 at most
}

// Count counts jobs that are to be done.
type Count struct {
	Waiting  int // their time has come, and no machine has them yet
	Running  int
	Retrying int // they failed, and wait to be tried again
	Later    int // their time has not come yet
}

// Trouble is a job that failed.
type Trouble struct {
	Job      int64
	Kind     string // collect, rotate or part
	Account  string // empty: it is about none
	Rotation string // likewise
	Part     string // likewise
	Attempts int
	Why      string // of the last failure
	At       time.Time
	Given    bool // up: it was tried too often; what is still due comes as another job
}

// mostTroubled is how many troubled jobs are told.
const mostTroubled = 100

// Open opens the queue beside a journal, and makes its tables where they are missing. Errors are those of Migrate.
func Open(ctx context.Context, url string) (*Queue, error) {
	if err := Migrate(ctx, url); err != nil {
		return nil, err
	}
	pool, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	return &Queue{url, pool}, nil
}

// Close ends the use of the queue.
func (q *Queue) Close() { q.pool.Close() }

// Stand tells how the queue stands now. The error is about the server.
func (q *Queue) Stand(ctx context.Context) (Stand, error) {
	var s Stand
	rows, err := q.pool.Query(ctx, `SELECT kind,
			count(*) FILTER (WHERE state = 'available' OR state IN ('scheduled', 'pending') AND scheduled_at <= now()),
			count(*) FILTER (WHERE state = 'running'),
			count(*) FILTER (WHERE state = 'retryable'),
			count(*) FILTER (WHERE state IN ('scheduled', 'pending') AND scheduled_at > now())
		FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending') GROUP BY kind`)
	if err != nil {
		return s, unreachable(q.url, err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		var c Count
		if err := rows.Scan(&kind, &c.Waiting, &c.Running, &c.Retrying, &c.Later); err != nil {
			return s, unreachable(q.url, err)
		}
		switch kind {
		case collectArgs{}.Kind():
			s.Accounts = c
		case rotateArgs{}.Kind():
			s.Rotations = c
		}
	}
	if err := rows.Err(); err != nil {
		return s, unreachable(q.url, err)
	}
	s.Troubled, err = q.troubled(ctx)
	return s, unreachable(q.url, err)
}

func (q *Queue) troubled(ctx context.Context) ([]Trouble, error) {
	rows, err := q.pool.Query(ctx, `SELECT id, kind, coalesce(args ->> 'account', ''), coalesce(args ->> 'rotation', ''), coalesce(args ->> 'part', ''),
			cardinality(errors), coalesce(split_part(errors[cardinality(errors)] ->> 'error', E'\n', 1), ''),
			(errors[cardinality(errors)] ->> 'at')::timestamptz, state = 'discarded'
		FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'discarded') AND cardinality(errors) > 0
		ORDER BY cardinality(errors) DESC, id LIMIT $1`, mostTroubled)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Trouble
	for rows.Next() {
		var t Trouble
		if err := rows.Scan(&t.Job, &t.Kind, &t.Account, &t.Rotation, &t.Part, &t.Attempts, &t.Why, &t.At, &t.Given); err != nil {
			return nil, err
		}
		t.At = t.At.UTC()
		out = append(out, t)
	}
	return out, rows.Err()
}
