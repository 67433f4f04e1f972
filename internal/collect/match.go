package collect

import "github.com/keyreeve/keyreeve/internal/fact"

// Match joins the keys of a report, which have a last use and no id, with those of ListAccessKeys, which have
// an id, a status of now and the true creation time. Slots and the order of the list mean nothing, so keys
// are told by the second of their creation and, among several of one second, by their status.
//
// A key that cannot be told keeps what is certain: live keys of one second that the report holds in equal
// number and with equal statuses are the same keys, so each verdict of the report still stands, unnamed. In
// any other tie the live key is kept with its id and its last use stays unknown. A live key that the
// report lacks was made since, or was the third: its last use is unknown.
func Match(report, live []fact.Key) []fact.Key {
	var out []fact.Key
	done := make([]bool, len(live))
	for i := range live {
		if done[i] {
			continue
		}
		same := sameSecond(live, live[i].Created)
		for _, j := range same {
			done[j] = true
		}
		out = append(out, matchSecond(pick(report, sameSecond(report, live[i].Created)), pick(live, same))...)
	}
	return out
}

// matchSecond joins keys that were made in one second.
func matchSecond(report, live []fact.Key) []fact.Key {
	if len(report) == 1 && len(live) == 1 {
		return []fact.Key{join(report[0], live[0])}
	}
	var out []fact.Key
	for _, active := range []bool{true, false} {
		r, l := withStatus(report, active), withStatus(live, active)
		switch {
		case len(l) == 1 && len(r) == 1 && len(report) == len(live):
			out = append(out, join(r[0], l[0]))
		case len(l) > 0 && len(r) == len(l) && len(report) == len(live):
			out = append(out, r...)
		default:
			out = append(out, l...)
		}
	}
	return out
}

func join(report, live fact.Key) fact.Key {
	live.Slot, live.LastUsed = report.Slot, report.LastUsed
	return live
}

func sameSecond(keys []fact.Key, made fact.Time) []int {
	var out []int
	for i := range keys {
		if keys[i].Created.Known() == made.Known() && keys[i].Created.Unix() == made.Unix() {
			out = append(out, i)
		}
	}
	return out
}

func pick(keys []fact.Key, places []int) []fact.Key {
	var out []fact.Key
	for _, i := range places {
		out = append(out, keys[i])
	}
	return out
}

func withStatus(keys []fact.Key, active bool) []fact.Key {
	var out []fact.Key
	for _, k := range keys {
		if k.Active == active {
			out = append(out, k)
		}
	}
	return out
}
