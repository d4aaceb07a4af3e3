package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// result is what one attack has shown.
type result struct {
	number    int
	name      string
	before    share // beside no attack, just before
	during    share
	want      float64 // of during
	memory    int64   // of the node that had most, as the attack is judged; bytes
	limit     int64
	resident  int64   // most of any node's process, bytes
	router    int64   // the same of the router
	others    float64 // cores that other programs took meanwhile
	recovered time.Duration
	back      bool     // recovered at all
	got       string   // what the attack got
	users     string   // why ordinary requests were not good
	faults    []string // what must not be, found
	err       error    // why the attack could not be carried through
	slow      bool     // the machine was too slow without an attack
	allLate   bool     // ordinary requests that were not good were late, and nothing worse
	again     bool     // missed a bar by time alone, so that another try was made, which counts
	took      time.Duration
}

// load is memory against its limit.
func (r result) load() float64 { return float64(r.memory) / float64(max(1, r.limit)) }

// broken lists the bars that were missed, and what else is wrong.
func (r result) broken() (list []string) {
	if r.err != nil {
		return []string{"not carried through: " + r.err.Error()}
	}
	if r.slow {
		return []string{fmt.Sprintf("machine too slow: without an attack %v of requests were answered in time, %s wanted", r.before, percent(bar))}
	}
	if r.during.ratio() < r.want {
		list = append(list, fmt.Sprintf("%v of %d ordinary requests were answered correctly within %v, %s wanted: %s%s", r.during, r.during.all, inTime, percent(r.want), r.users, neighbours(r.others)))
	}
	if r.load() > memoryBar {
		list = append(list, fmt.Sprintf("memory %d MiB is %.2f times the limit of %d MiB, at most %.2f wanted", r.memory/mebibyte, r.load(), r.limit/mebibyte, memoryBar))
	}
	if !r.back {
		list = append(list, fmt.Sprintf("not recovered %v after the attack, %v wanted%s", r.recovered.Round(100*time.Millisecond), recoveryBar, neighbours(r.others)))
	} else if r.recovered > recoveryBar {
		list = append(list, fmt.Sprintf("recovered %v after the attack, %v wanted%s", r.recovered.Round(10*time.Millisecond), recoveryBar, neighbours(r.others)))
	}
	return append(list, r.faults...)
}

// late says whether an attack missed its bars by time alone: each answer was
// right, and some came too late. On a machine that others share this may be a
// moment in which it stood still.
func (r result) late() bool {
	timed := r
	timed.during, timed.want = share{1, 1}, 0
	timed.recovered, timed.back = 0, true
	return len(r.broken()) > 0 && len(timed.broken()) == 0 && r.allLate && r.during.all > 0
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// write prints the table and what is wrong in full, and reports whether all
// bars were met.
func write(w io.Writer, results []result) (ok bool) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "#\tattack\tbefore\tin time (bar)\tmemory / limit\tresident: node, router\tother programs\tback after\t")
	failed, tries := 0, 0
	for _, r := range results {
		mark := "passed"
		switch {
		case r.again:
			mark = "late: tried again"
			tries++
		case len(r.broken()) > 0:
			mark = "FAILED"
			failed++
		}
		back := "never"
		if r.back {
			back = r.recovered.Round(10 * time.Millisecond).String()
		}
		fmt.Fprintf(t, "%d\t%s\t%v\t%v (%s)\t%d / %d MiB = %.2f\t%d, %d MiB\t%.1f cores\t%s\t%s\n", r.number, r.name, r.before, r.during, percent(r.want),
			r.memory/mebibyte, r.limit/mebibyte, r.load(), r.resident/mebibyte, r.router/mebibyte, r.others, back, mark)
	}
	t.Flush()
	fmt.Fprintln(w, "\nWhat the attacks got:")
	for _, r := range results {
		if r.got != "" {
			fmt.Fprintf(w, "  %d %s: %s\n", r.number, r.name, r.got)
		}
	}
	if failed+tries > 0 {
		fmt.Fprintln(w, "\nWhat is wrong:")
	}
	for _, r := range results {
		for _, b := range r.broken() {
			fmt.Fprintf(w, "  %d %s: %s\n", r.number, r.name, b)
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed\n", len(results)-failed-tries, failed)
	return failed == 0
}
