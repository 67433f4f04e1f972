package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// baseline counts the rules of the default ruleset in the plainest way: encoding/csv with a reused record, time.Parse, one
// goroutine. It trusts its input.
func baseline(w io.Writer, path string, now time.Time) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := csv.NewReader(bufio.NewReaderSize(f, 1<<20))
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return err
	}
	col := map[string]int{}
	for i, name := range header {
		col[name] = i
	}
	var slots [2]struct{ active, created, used int }
	for i := range slots {
		slots[i].active = col[fmt.Sprintf("access_key_%d_active", i+1)]
		slots[i].created = col[fmt.Sprintf("access_key_%d_last_rotated", i+1)]
		slots[i].used = col[fmt.Sprintf("access_key_%d_last_used_date", i+1)]
	}
	name, made, password := col["user"], col["user_creation_time"], col["password_enabled"]
	const day = 24 * time.Hour
	var age30, age45, age90, unused45, unused90, never, neverConsole, setup, inactive, multiple, root int
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		created, err := time.Parse(time.RFC3339, rec[made])
		if err != nil {
			return err
		}
		active, keys := 0, 0
		for _, s := range slots {
			if rec[s.created] == "N/A" {
				continue
			}
			keys++
			if rec[name] == "<root_account>" {
				continue
			}
			keyMade, err := time.Parse(time.RFC3339, rec[s.created])
			if err != nil {
				return err
			}
			age := now.Sub(keyMade)
			if rec[s.active] != "true" {
				if age >= 90*day {
					inactive++
				}
				continue
			}
			active++
			idle, used := age, rec[s.used] != "N/A"
			if used {
				at, err := time.Parse(time.RFC3339, rec[s.used])
				if err != nil {
					return err
				}
				idle = now.Sub(at)
			}
			count(&age30, age > 30*day)
			count(&age45, age > 45*day)
			count(&age90, age > 90*day)
			count(&unused45, idle >= 45*day)
			count(&unused90, idle >= 90*day)
			count(&never, !used && age >= 7*day)
			if rec[password] == "true" {
				count(&neverConsole, !used)
				count(&setup, keyMade.Sub(created).Abs() <= time.Minute)
			}
		}
		count(&multiple, active > 1)
		count(&root, rec[name] == "<root_account>" && keys > 0)
	}
	_, err = fmt.Fprintf(w, "root-access-key %d\nkey-age-30 %d\nkey-age-45 %d\nkey-age-90 %d\nkey-created-with-user %d\nmultiple-active-keys %d\nkey-unused-45 %d\nkey-unused-90 %d\nkey-never-used %d\nkey-never-used-console %d\ninactive-key %d\n",
		root, age30, age45, age90, setup, multiple, unused45, unused90, never, neverConsole, inactive)
	return err
}

func count(n *int, fails bool) {
	if fails {
		*n++
	}
}
