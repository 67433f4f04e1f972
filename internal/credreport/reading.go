package credreport

import (
	"context"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// reading is one Read: the workers take chunks from the cutter in turn, and what outlives a chunk comes back
// here.
type reading struct {
	name    string
	columns []column
	spare   chan *arena // released by the caller
	each    func(Batch) error

	failedAt atomic.Int64 // lowest chunk that failed, noChunk for none; later ones need no parsing

	mu     sync.Mutex // guards the rest
	failed error      // of chunk failedAt
	theirs bool       // each returned it
	names  []nameList // by chunk
	report Report
	newest stamp
}

const noChunk = math.MaxInt64

func read(ctx context.Context, r io.Reader, opt Options, size int, each func(Batch) error) (Report, error) {
	src, err := open(r, opt.Name)
	if err != nil {
		return Report{}, err
	}
	workers := opt.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	spare := make(chan *arena, 2*workers+1) // as many as can be under way: queued, at work, being filled
	cut := &cutter{r: src, size: size, spare: spare, line: 1}
	rd := &reading{name: opt.Name, spare: spare, each: each}
	rd.failedAt.Store(noChunk)
	first, err := rd.header(ctx, cut)
	if err != nil {
		return Report{}, err
	}
	rd.run(ctx, cut, first, workers)
	if err := rd.outcome(ctx); err != nil {
		return Report{}, err
	}
	rd.report.Newest = rd.newest.past()
	rd.report.GeneratedAt, err = src.generatedAt()
	if err != nil {
		return Report{}, err
	}
	return rd.report, nil
}

// header takes the header off the first chunk that has one and returns the rest of that chunk.
func (rd *reading) header(ctx context.Context, cut *cutter) (chunk, error) {
	for {
		ck, ok, err := cut.next(ctx)
		if err != nil {
			return chunk{}, sourceError(err, rd.name)
		}
		if !ok {
			return chunk{}, errEmpty(rd.name)
		}
		start := skipBlankLines(ck.text, 0)
		if start == len(ck.text) {
			continue
		}
		fields, next, flt := split(ck.text, start, nil)
		if flt == nil && ck.tooLong {
			flt = tooLong(ck.text, start)
		}
		if flt == nil {
			rd.columns, flt = newColumns(fields)
		}
		if flt != nil {
			return chunk{}, ck.error(flt, rd.name)
		}
		return ck.from(next), nil
	}
}

// run parses first and all that follows it, and waits for its goroutines.
func (rd *reading) run(ctx context.Context, cut *cutter, first chunk, workers int) {
	q := &queue{rd: rd, cut: cut, first: &first}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			p := newParser(rd.columns, rd.name)
			for ck, ok := q.take(ctx); ok; ck, ok = q.take(ctx) {
				rd.do(ctx, p, ck)
			}
		})
	}
	wg.Wait()
}

// queue gives out the chunks in the order of the file. Who wants one cuts it: there is no goroutine that
// reads ahead, and nothing to hand over.
type queue struct {
	rd  *reading
	cut *cutter

	mu    sync.Mutex // guards the rest
	first *chunk     // what the header left of its chunk; nil when it was taken
	seq   int
	here  *home // nil until the first row
	over  bool
}

// take numbers and returns the next chunk, until the file ends, a chunk fails or the context is done. So when
// chunk n fails, all before it have been given out, and the first fault is found.
func (q *queue) take(ctx context.Context) (chunk, bool) {
	q.lock()
	defer q.mu.Unlock()
	for !q.over && q.rd.failedAt.Load() == noChunk && ctx.Err() == nil {
		ck, ok := q.cutNext(ctx)
		if !ok {
			break
		}
		if q.here == nil {
			var flt *fault
			if q.here, flt = findHome(ck, q.rd.columns); flt != nil {
				q.rd.fail(q.seq, ck.error(flt, q.rd.name), false)
				break
			}
		}
		if q.here != nil {
			ck.seq, ck.home = q.seq, q.here
			q.seq++
			return ck, true
		}
	}
	q.over = true
	return chunk{}, false
}

// lock tries for about as long as another worker takes to read a chunk, some tens of microseconds, before it goes
// to sleep: to be woken again takes longer.
func (q *queue) lock() {
	for range 30_000 {
		if q.mu.TryLock() {
			return
		}
	}
	q.mu.Lock()
}

func (q *queue) cutNext(ctx context.Context) (chunk, bool) {
	if q.first != nil {
		ck := *q.first
		q.first = nil
		return ck, true
	}
	ck, ok, err := q.cut.next(ctx)
	if err != nil {
		q.rd.fail(q.seq, sourceError(err, q.rd.name), false)
	}
	return ck, ok && err == nil
}

// do parses one chunk and hands its users on.
func (rd *reading) do(ctx context.Context, p *parser, ck chunk) {
	if int64(ck.seq) > rd.failedAt.Load() || ctx.Err() != nil {
		return
	}
	err := p.parse(ck)
	rd.keep(ck.seq, p)
	if err != nil {
		rd.fail(ck.seq, err, false)
		return
	}
	if rd.failedAt.Load() != noChunk || ctx.Err() != nil {
		return
	}
	ck.arena.lent.Store(int64(ck.seq))
	b := Batch{Seq: ck.seq, Account: ck.home.account, Users: ck.arena.users, arena: ck.arena, spare: rd.spare}
	if err := rd.each(b); err != nil {
		rd.fail(ck.seq, err, true)
	}
}

// keep takes from p what the end of the reading needs.
func (rd *reading) keep(seq int, p *parser) {
	names := p.names.clone()
	rd.mu.Lock()
	defer rd.mu.Unlock()
	for len(rd.names) <= seq {
		rd.names = append(rd.names, nameList{})
	}
	rd.names[seq] = names
	rd.report.Account = p.home.account
	rd.report.Users += len(p.arena.users)
	rd.report.Keys += p.keyCount
	rd.report.ActiveKeys += p.activeKeys
	if p.sawRoot {
		rd.report.HasRoot = true
		rd.report.Users--
	}
	rd.newest = later(rd.newest, p.newest)
}

// fail notes err of chunk seq; of several, the one of the earliest chunk stays.
func (rd *reading) fail(seq int, err error, theirs bool) {
	rd.mu.Lock()
	defer rd.mu.Unlock()
	if int64(seq) < rd.failedAt.Load() {
		rd.failedAt.Store(int64(seq))
		rd.failed, rd.theirs = err, theirs
	}
}

// outcome is the error of the reading, once all goroutines have ended. A duplicate user counts where its
// second row stands, so it can come before a fault that was found earlier.
func (rd *reading) outcome(ctx context.Context) error {
	if rd.theirs {
		return rd.failed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	names := rd.names
	if rd.failed != nil {
		names = names[:min(int64(len(names)), rd.failedAt.Load()+1)]
	}
	if dup := findDuplicate(names); dup != nil {
		return dup.error(rd.name, rd.columns)
	}
	return rd.failed
}
