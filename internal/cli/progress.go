package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/keyreeve/keyreeve/internal/audit"
)

// progress draws on a terminal how far the reading is, and remembers it for a run that is interrupted.
// Without a terminal it only remembers.
type progress struct {
	mu    sync.Mutex
	draw  *mpb.Progress // nil: do not draw
	bar   *mpb.Bar
	stage string
	count atomic.Value // string: read by the goroutine that draws, which must not wait for mu
}

func (a *app) progress() *progress {
	p := &progress{stage: "nothing yet"}
	p.count.Store("")
	if _, ok := terminal(a.sys.Stderr); ok && !a.global.quiet {
		p.draw = mpb.New(mpb.WithOutput(a.sys.Stderr), mpb.WithWidth(40), mpb.WithAutoRefresh())
	}
	return p
}

// show has the signature of collect.Options.Progress.
func (p *progress) show(stage string, done, of int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(stage, int64(done), int64(of), "")
}

func (p *progress) set(stage string, done, of int64, unit string) {
	fresh := stage != p.stage
	p.stage = stage
	p.count.Store(countText(done, of, unit))
	if p.draw == nil {
		return
	}
	if fresh {
		p.drop()
		p.bar = p.draw.AddBar(of, mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name(stage+" ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return p.count.Load().(string) })))
	}
	p.bar.SetTotal(of, false)
	p.bar.SetCurrent(done)
}

func countText(done, of int64, unit string) string {
	switch {
	case unit == "MB":
		return fmt.Sprintf("%d of %d MB", done>>20, of>>20)
	case of > 0:
		return fmt.Sprintf("%d of %d", done, of)
	case done > 0:
		return fmt.Sprint(done)
	default:
		return ""
	}
}

func (p *progress) drop() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.bar = nil
	}
}

// said is how far it came, for the sentence about an interruption.
func (p *progress) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if count := p.count.Load().(string); count != "" {
		return p.stage + ": " + count
	}
	return p.stage
}

// stop takes the bar off the screen.
func (p *progress) stop() {
	if p.draw == nil {
		return
	}
	p.mu.Lock()
	p.drop()
	p.mu.Unlock()
	p.draw.Shutdown()
}

// watch opens the file so that its reading shows as progress.
func (p *progress) watch(f audit.File) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, err := f.Open()
		if err != nil {
			return nil, err
		}
		var size int64
		if file, ok := r.(*os.File); ok {
			if info, err := file.Stat(); err == nil {
				size = info.Size()
			}
		}
		return &watched{ReadCloser: r, p: p, name: f.Path, of: size}, nil
	}
}

// watched counts what is read from a file.
type watched struct {
	io.ReadCloser
	p        *progress
	name     string
	done, of int64
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	w.done += int64(n)
	w.p.mu.Lock()
	w.p.set(w.name, w.done, w.of, "MB")
	w.p.mu.Unlock()
	return n, err
}
