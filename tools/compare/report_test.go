package main

import (
	"strings"
	"testing"
)

func runs(rates ...uint64) (all []Counted) {
	for _, rate := range rates {
		all = append(all, Counted{Records: rate, Bytes: rate * 1_000_000, Seconds: 1, P99us: int64(1_000_000 / rate)})
	}
	return all
}

func TestRatiosAreOfEachRoundsPair(t *testing.T) {
	row := Row{Workload: "publish-100-1", Ours: runs(10, 40, 90), Theirs: runs(10, 20, 30)}
	if ratio := ratios(row, Counted.MBPerSecond); ratio != (Spread{Median: 2, Min: 1, Max: 3}) {
		t.Errorf("ratios 1, 2 and 3 came to %v", ratio)
	}
}

func TestAPeerThatWinsIsNamed(t *testing.T) {
	row := Row{Workload: "one-by-one-1", Peer: "Other", Ours: runs(10), Theirs: runs(20)}
	line := row.markdown(false)
	for _, said := range []string{"**Other is faster**", "**Other has the lower p99**"} {
		if !strings.Contains(line, said) {
			t.Errorf("%q lacks %q", line, said)
		}
	}
	row.Ours, row.Theirs = runs(50), runs(10)
	if line := row.markdown(false); strings.Contains(line, "faster") || strings.Contains(line, "below") {
		t.Errorf("5 times as fast: %q", line)
	}
	if line := row.markdown(true); !strings.Contains(line, "not the same promise") {
		t.Errorf("a peer that loses acknowledged records is not marked: %q", line)
	}
}

func TestAKillThatIsNotKnownSetsAPeerApart(t *testing.T) {
	report := Report{Kills: []Kill{{Name: "Other", Class: Synced, Acked: 5}, {Name: "Lossy", Class: Synced, Acked: 5, Lost: 1}}}
	for peer, wanted := range map[string]bool{"Other": false, "Lossy": true, "Unknown": true} {
		if report.isApart(peer, Synced) != wanted {
			t.Errorf("%s: apart is %t", peer, !wanted)
		}
	}
}
