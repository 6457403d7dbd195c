package main

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Counted is what one run of one workload came to.
type Counted struct {
	Records uint64  `json:"records"`
	Bytes   uint64  `json:"bytes"`
	Seconds float64 `json:"seconds"`
	P50us   int64   `json:"p50Us"`
	P99us   int64   `json:"p99Us"`
	P999us  int64   `json:"p999Us"`
	// Due in an open loop and not answered by the end.
	Missed uint64 `json:"missed,omitempty"`
}

func (c Counted) RecordsPerSecond() float64 { return float64(c.Records) / c.Seconds }
func (c Counted) MBPerSecond() float64      { return float64(c.Bytes) / c.Seconds / 1e6 }

// Counting collects from several goroutines.
type Counting struct {
	mu      sync.Mutex
	records uint64
	bytes   uint64
	times   *hdrhistogram.Histogram
}

func NewCounting() *Counting {
	return &Counting{times: hdrhistogram.New(1, 60_000_000, 3)}
}

// Book counts records that took as long, from send (or intended send) to acknowledgement.
func (c *Counting) Book(took time.Duration, records, bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records += records
	c.bytes += bytes
	us := max(1, min(took.Microseconds(), 60_000_000))
	_ = c.times.RecordValue(us)
}

// Count counts records without a time of their own.
func (c *Counting) Count(records, bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records += records
	c.bytes += bytes
}

func (c *Counting) Over(took time.Duration) Counted {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counted{
		Records: c.records,
		Bytes:   c.bytes,
		Seconds: max(took.Seconds(), 1e-9),
		P50us:   c.times.ValueAtQuantile(50),
		P99us:   c.times.ValueAtQuantile(99),
		P999us:  c.times.ValueAtQuantile(99.9),
	}
}

// Spread is the middle and the ends of some figures.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func SpreadOf(figures []float64) Spread {
	if len(figures) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return Spread{
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		Min:    sorted[0],
		Max:    sorted[n-1],
	}
}

func (s Spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", short(s.Median), short(s.Min), short(s.Max))
}

// short is a figure with three digits that count.
func short(figure float64) string {
	switch {
	case figure >= 100 || figure <= -100:
		return fmt.Sprintf("%.0f", figure)
	case figure >= 10:
		return fmt.Sprintf("%.1f", figure)
	case figure >= 1 || figure == 0:
		return fmt.Sprintf("%.2f", figure)
	default:
		return fmt.Sprintf("%.3f", figure)
	}
}
