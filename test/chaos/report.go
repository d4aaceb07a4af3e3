package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// report is what one run of a scenario has found.
type report struct {
	title   string
	command string // that repeats it
	began   time.Time
	took    time.Duration
	loads   [2]string // load average before and after
	rows    []row
	skipped string // why it was not run, empty when it was
}

type row struct {
	what, measured string
	promise        string // what was promised, empty for a figure of which nothing is
	broken         bool
	cases          []string // of a broken promise, in full
}

func newReport(title, command string) *report {
	return &report{title: title, command: command, began: time.Now(), loads: [2]string{loadAverage(), ""}}
}

// figure adds something measured.
func (r *report) figure(what, format string, args ...any) {
	r.rows = append(r.rows, row{what: what, measured: fmt.Sprintf(format, args...)})
}

// promise adds something that was promised.
func (r *report) promise(what, measured, promise string, kept bool, cases []string) {
	r.rows = append(r.rows, row{what: what, measured: measured, promise: promise, broken: !kept, cases: cases})
}

// never adds a number of cases that was promised to be 0.
func (r *report) never(what string, n, of int, cases []string) {
	r.promise(what, fmt.Sprintf("%s of %s", thousands(n), thousands(of)), "0", n == 0, cases)
}

// fail adds that the scenario could not go on.
func (r *report) fail(err error) {
	r.promise("the scenario", "could not be carried through", "ends", false, []string{err.Error()})
}

func (r *report) end() {
	r.took = time.Since(r.began)
	r.loads[1] = loadAverage()
}

func (r *report) broken() bool {
	return slices.ContainsFunc(r.rows, func(w row) bool { return w.broken })
}

// write prints the report as a Markdown section.
func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n", r.title)
	if r.skipped != "" {
		fmt.Fprintf(w, "Skipped: %s.\n", r.skipped)
		return
	}
	fmt.Fprintf(w, "`%s`, %s, took %v, load average %s before and %s after.\n\n", r.command,
		r.began.Format("2006-01-02 15:04"), r.took.Round(time.Second), r.loads[0], r.loads[1])
	fmt.Fprintf(w, "| | measured | promised | |\n|---|---|---|---|\n")
	for _, row := range r.rows {
		mark := ""
		if row.promise != "" {
			mark = "kept"
		}
		if row.broken {
			mark = "**BROKEN**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", row.what, row.measured, row.promise, mark)
	}
	for _, row := range r.rows {
		if len(row.cases) == 0 {
			continue
		}
		heading := "First cases"
		if row.broken {
			heading = "Broken"
		}
		fmt.Fprintf(w, "\n%s: %s\n", heading, row.what)
		for _, c := range row.cases {
			fmt.Fprintf(w, "\n    %s\n", strings.ReplaceAll(c, "\n", "\n    "))
		}
	}
}

// loadAverage is the system's, over one minute.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return one
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// spread describes durations by their quantiles.
func spread(list []time.Duration) string {
	if len(list) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(list))
	at := func(q float64) string { return short(s[min(len(s)-1, int(q*float64(len(s))))]) }
	return fmt.Sprintf("median %s, p90 %s, p99 %s, max %s", at(0.5), at(0.9), at(0.99), short(s[len(s)-1]))
}

// counts describes numbers by how often each range occurs.
func counts(list []int) string {
	if len(list) == 0 {
		return "none"
	}
	s := slices.Sorted(slices.Values(list))
	sum, zero := 0, 0
	for _, n := range s {
		sum += n
		if n == 0 {
			zero++
		}
	}
	at := func(q float64) int { return s[min(len(s)-1, int(q*float64(len(s))))] }
	return fmt.Sprintf("%d in all; 0 in %d of %d, median %d, p90 %d, p99 %d, max %d", sum, zero, len(s), at(0.5), at(0.9), at(0.99), s[len(s)-1])
}

// short rounds a duration to three digits, seconds to hundredths.
func short(d time.Duration) string {
	unit := time.Microsecond
	for unit < 10*time.Millisecond && d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}
