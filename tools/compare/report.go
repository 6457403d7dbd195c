package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Row is one workload of one pair in one class.
type Row struct {
	Workload string    `json:"workload"`
	What     string    `json:"what"`
	Class    Class     `json:"class"`
	Peer     string    `json:"peer"`
	Rate     float64   `json:"rate,omitempty"`
	Ours     []Counted `json:"ours"`
	Theirs   []Counted `json:"theirs"`
	Error    string    `json:"error,omitempty"`
}

// Kill is what a broker lost when it was killed.
type Kill struct {
	Name  string `json:"name"`
	Class Class  `json:"class"`
	Acked uint64 `json:"acked"`
	Lost  uint64 `json:"lost"`
	Error string `json:"error,omitempty"`
}

func figures(runs []Counted, figure func(Counted) float64) []float64 {
	var all []float64
	for _, run := range runs {
		all = append(all, figure(run))
	}
	return all
}

// ratios of each round: a round's two runs lie next to each other in time.
func ratios(row Row, figure func(Counted) float64) Spread {
	var all []float64
	for n := range min(len(row.Ours), len(row.Theirs)) {
		if theirs := figure(row.Theirs[n]); theirs > 0 {
			all = append(all, figure(row.Ours[n])/theirs)
		}
	}
	return SpreadOf(all)
}

func p99(run Counted) float64 { return float64(run.P99us) }

func throughput(row Row) (func(Counted) float64, string) {
	if strings.HasPrefix(row.Workload, "one-by-one") || strings.HasPrefix(row.Workload, "tail") {
		return Counted.RecordsPerSecond, "records/s"
	}
	return Counted.MBPerSecond, "MB/s"
}

// markdown is one line of the table.
func (row Row) markdown(isApart bool) string {
	if row.Error != "" {
		return fmt.Sprintf("| %s | %s | | | | | | | %s |", row.What, row.Peer, oneLine(row.Error))
	}
	figure, unit := throughput(row)
	speed, late := ratios(row, figure), ratios(row, p99)
	var said []string
	switch isOpen := row.Rate > 0; {
	case SpreadOf(figures(row.Theirs, figure)).Median == 0:
		said = append(said, row.Peer+" acknowledged nothing within a run: give more -seconds")
	case isOpen:
		said = append(said, fmt.Sprintf("at %.0f/s", row.Rate))
	case speed.Median < 1:
		said = append(said, "**"+row.Peer+" is faster**")
	case speed.Median < 2:
		said = append(said, "below 2 ×")
	}
	hasTimes := !isReplay(row.Workload)
	if hasTimes && late.Median > 1 {
		said = append(said, "**"+row.Peer+" has the lower p99**")
	} else if hasTimes && late.Median > 0.5 {
		said = append(said, "p99 above 0.5 ×")
	}
	if isApart {
		said = append(said, row.Peer+" loses acknowledged records at kill -9: not the same promise")
	}
	missed := uint64(0)
	for _, run := range append(append([]Counted{}, row.Ours...), row.Theirs...) {
		missed += run.Missed
	}
	if missed > 0 {
		said = append(said, fmt.Sprintf("%d missed", missed))
	}
	p99s := func(runs []Counted) string {
		if !hasTimes {
			return ""
		}
		return SpreadOf(figures(runs, p99)).String()
	}
	lateText := ""
	if hasTimes {
		lateText = short(late.Median)
	}
	return fmt.Sprintf("| %s | %s | %s %s | %s %s | %s | %s | %s | %s | %s |", row.What, row.Peer,
		SpreadOf(figures(row.Ours, figure)), unit, SpreadOf(figures(row.Theirs, figure)), unit, speed,
		p99s(row.Ours), p99s(row.Theirs), lateText, strings.Join(said, "; "))
}

func oneLine(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(text), "\n", " "), "|", "/")
}

// Report is everything of one run.
type Report struct {
	Command string   `json:"command"`
	Machine string   `json:"machine"`
	Brokers []string `json:"brokers"`
	Absent  []string `json:"absent"`
	Limits  []string `json:"limits"`
	Kills   []Kill   `json:"kills"`
	Rows    []Row    `json:"rows"`
}

func (r Report) isApart(peer string, class Class) bool {
	for _, kill := range r.Kills {
		if kill.Name == peer && kill.Class == class {
			return kill.Lost > 0 || kill.Error != ""
		}
	}
	return true
}

// markdown writes what docs/benchmarks.md takes.
func (r Report) markdown(out io.Writer) {
	fmt.Fprintf(out, "Machine: %s.  \nCommand: `%s`.\n\n", r.Machine, r.Command)
	for _, broker := range r.Brokers {
		fmt.Fprintf(out, "- %s\n", broker)
	}
	for _, absent := range r.Absent {
		fmt.Fprintf(out, "- not here: %s\n", absent)
	}
	fmt.Fprint(out, "\n| Limit of the machine, same run | MB/s | operations/s | p50 µs | p99 µs |\n| --- | --: | --: | --: | --: |\n")
	fmt.Fprintln(out, strings.Join(r.Limits, "\n"))
	fmt.Fprint(out, "\n| kill -9 under load | class | acknowledged | lost of these |\n| --- | --- | --: | --: |\n")
	for _, kill := range r.Kills {
		lost := fmt.Sprint(kill.Lost)
		if kill.Error != "" {
			lost = oneLine(kill.Error)
		}
		fmt.Fprintf(out, "| %s | %s | %d | %s |\n", kill.Name, kill.Class, kill.Acked, lost)
	}
	for _, class := range []Class{Synced, Written} {
		if !slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Class == class }) {
			continue
		}
		fmt.Fprintf(out, "\n**%s**: medians (least–greatest) of all rounds; ratios are of each round's pair.\n\n", class)
		fmt.Fprint(out, "| Workload | peer | npayload | the peer | npayload ÷ peer | p99 µs | the peer's | p99 ratio | |\n| --- | --- | --: | --: | --: | --: | --: | --: | --- |\n")
		for _, row := range r.Rows {
			if row.Class == class {
				fmt.Fprintln(out, row.markdown(r.isApart(row.Peer, class)))
			}
		}
	}
}

func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	before, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s, %d cores, linux %s, load average before: %s", model, runtime.NumCPU(),
		strings.TrimSpace(string(release)), before)
}
