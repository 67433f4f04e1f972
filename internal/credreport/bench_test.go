package credreport_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/credreport/synth"
)

const benchUsers = 200_000

func asOf() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

// synthetic is a report of n users.
func synthetic(tb testing.TB, n int, shuffle bool) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := synth.Write(&b, synth.Options{Users: n, Seed: 1, AsOf: asOf(), Shuffle: shuffle}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// BenchmarkRead aims at a fifth of the time of BenchmarkEncodingCSV; two hardware threads of one core reach a
// quarter.
func BenchmarkRead(b *testing.B) {
	for name, shuffle := range map[string]bool{"sorted": false, "shuffled": true} {
		b.Run(name, func(b *testing.B) {
			data := synthetic(b, benchUsers, shuffle)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				rep, err := credreport.Read(context.Background(), bytes.NewReader(data), credreport.Options{},
					func(b credreport.Batch) error { b.Release(); return nil })
				if err != nil || rep.Users != benchUsers {
					b.Fatal(rep.Users, err)
				}
			}
			perRow(b)
		})
	}
}

// BenchmarkEncodingCSV is the plain way: one goroutine, encoding/csv, time.Parse.
func BenchmarkEncodingCSV(b *testing.B) {
	data := synthetic(b, benchUsers, false)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if n := plainRead(b, data); n != benchUsers+1 {
			b.Fatal(n)
		}
	}
	perRow(b)
}

func perRow(b *testing.B) {
	rows := float64(b.N) * benchUsers
	b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
}

func plainRead(b *testing.B, data []byte) (rows int) {
	r := csv.NewReader(bytes.NewReader(data))
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		b.Fatal(err)
	}
	var dates []int
	for i, name := range header {
		if strings.HasSuffix(name, "_time") || strings.Contains(name, "_last_") && !strings.HasSuffix(name, "region") && !strings.HasSuffix(name, "service") {
			dates = append(dates, i)
		}
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows
		}
		if err != nil {
			b.Fatal(err)
		}
		rows++
		for _, i := range dates {
			if row[i] == "N/A" || row[i] == "no_information" {
				continue
			}
			if _, err := time.Parse(time.RFC3339, row[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
}
