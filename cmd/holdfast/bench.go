package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/header"
	"github.com/seed-95a32959/holdfast/session"
)

type benchCommand struct {
	URL         sessionsURL     `name:"url" placeholder:"URL" default:"http://127.0.0.1:8080" help:"A router, or any node."`
	Users       userCount       `placeholder:"N" default:"1000" help:"How many users there are, each with one session."`
	Connections connectionCount `placeholder:"N" default:"16" help:"How many requests are under way at a time. The users are shared out among the connections."`
	Writes      percentage      `placeholder:"PERCENT" default:"20" help:"How many of a hundred requests write; the others read."`
	Size        size            `placeholder:"SIZE" default:"300B" help:"Of a session."`
	Ack         ackMode         `placeholder:"MODE" default:"async" help:"What a write waits for: async, the owner alone; replica, one copy too; all, every copy; of the nodes that the ring has."`
	Rate        requestCount    `placeholder:"N" default:"0" help:"Requests a second over all connections; 0 sends each as soon as the one before is answered."`
	Duration    duration        `placeholder:"DURATION" default:"30s" help:"How long to go on."`
	Requests    requestCount    `placeholder:"N" default:"0" help:"Stop after so many requests; 0 means only after -duration."`
	JSON        bool            `name:"json" help:"Print nothing but the result, as JSON."`
}

func (*benchCommand) Detail() string {
	return `Every user's session counts its writes, and every read is held against what was acknowledged
before it: MISSING are sessions that were not found, OLD are those that lacked an
acknowledged write. With -ack replica both stay 0 whatever happens to one node, and the exit
code is 1 if they do not; with async the writes of the last milliseconds may be lost with
their owner. So start holdfast dev, let this run beside it, and kill a node:

  holdfast bench -ack replica -rate 2000

With -rate a request's time counts from when it was due, so a pause shows in the requests
that had to wait for its end too. The sessions end by themselves five minutes later.`
}

// benchTTL is the idle time of the sessions.
const benchTTL = "5m"

func (c *benchCommand) Run(ctx context.Context, s *streams) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := newBench(c)
	defer b.client.CloseIdleConnections()
	out := s.out
	if c.JSON {
		out = io.Discard
	}
	total, err := b.run(ctx, out, lookOf(out))
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(s.out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(total.result())
	} else {
		err = total.write(s.out)
	}
	switch broken := total.missing + total.old; {
	case err != nil:
		return err
	case total.done() == 0:
		return fmt.Errorf("no request to %s was answered: %s", c.URL, total.commonFailure())
	case broken > 0 && session.Ack(c.Ack) != session.AckAsync:
		return fmt.Errorf("%s without what had been acknowledged with -ack %s", plural(broken, "read"), session.Ack(c.Ack))
	}
	return nil
}

// bench is one run: its workers each go through their own users, one request
// after the other, so what a read must show is known for certain.
type bench struct {
	*benchCommand
	client  *http.Client
	workers []*benchWorker
	begun   atomic.Int64 // requests
}

func newBench(c *benchCommand) *bench {
	b := &bench{benchCommand: c, client: &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			MaxIdleConnsPerHost: int(c.Connections), DisableCompression: true,
		},
	}}
	prefix := fmt.Sprintf("bench-%08x-", rand.Uint32()) // another run's sessions are not this one's
	for i := range min(int(c.Connections), int(c.Users)) {
		w := &benchWorker{bench: b, tally: newTally()}
		for u := i; u < int(c.Users); u += int(c.Connections) {
			w.users = append(w.users, benchUser{url: string(c.URL) + "/v1/sessions/" + prefix + strconv.Itoa(u)})
		}
		b.workers = append(b.workers, w)
	}
	return b
}

// run lets the workers work, and prints a line each second.
func (b *bench) run(ctx context.Context, out io.Writer, look look) (total *benchTally, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.Duration))
	defer cancel()
	var wg sync.WaitGroup
	for _, w := range b.workers {
		wg.Go(func() { w.work(ctx) })
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	defer func() { cancel(); <-finished }()

	begin, total := time.Now(), newTally()
	lines := benchLines{look: look}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-tick.C:
		case <-finished:
			last = true
		}
		second := newTally()
		for _, w := range b.workers {
			second.add(w.take())
		}
		second.took = time.Since(begin) - total.took
		total.add(second)
		if last {
			return total, nil
		}
		if err := lines.print(out, second, total.took); err != nil {
			return nil, err
		}
	}
}

// more says whether another request may be begun.
func (b *bench) more(ctx context.Context) bool {
	return ctx.Err() == nil && (b.Requests == 0 || b.begun.Add(1) <= int64(b.Requests))
}

// benchWorker is one connection.
type benchWorker struct {
	*bench
	users []benchUser

	mu    sync.Mutex // guards tally
	tally *benchTally
}

// benchUser is a session and what is known of it: the newest write that was
// acknowledged, and the newest that was tried.
type benchUser struct {
	url          string
	acked, tried int
}

func (w *benchWorker) work(ctx context.Context) {
	pad := strings.Repeat("x", int(w.Size))
	due := time.Now()
	for i := 0; w.more(ctx); i++ {
		due = w.await(ctx, due)
		u := &w.users[rand.IntN(len(w.users))]
		if i < len(w.users) {
			u = &w.users[i] // each is written once first
		}
		if ctx.Err() != nil {
			return
		}
		if u.acked == 0 || rand.IntN(100) < int(w.Writes) {
			w.write(ctx, u, pad, due)
		} else {
			w.read(ctx, u, due)
		}
	}
}

// await waits for the next request's time, and returns it.
func (w *benchWorker) await(ctx context.Context, due time.Time) time.Time {
	if w.Rate == 0 {
		return time.Now()
	}
	due = due.Add(time.Duration(len(w.workers)) * time.Second / time.Duration(w.Rate))
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(due)):
	}
	return due
}

func (w *benchWorker) write(ctx context.Context, u *benchUser, pad string, due time.Time) {
	u.tried++
	body, _ := json.Marshal(map[string]any{"n": u.tried, "pad": pad}) // cannot fail
	status, server, _, err := w.send(ctx, http.MethodPut, u.url+"?ttl="+benchTTL, body)
	if err == nil && status/100 == 2 {
		u.acked = u.tried
	}
	w.count(ctx, due, server, status, err, nil)
}

func (w *benchWorker) read(ctx context.Context, u *benchUser, due time.Time) {
	status, server, body, err := w.send(ctx, http.MethodGet, u.url, nil)
	missing := err == nil && (status == http.StatusNotFound || status == http.StatusGone)
	var got struct{ N int }
	if err == nil && status == http.StatusOK {
		if err = json.Unmarshal(body, &got); err != nil {
			err = fmt.Errorf("not what was written: %w", err)
		}
	}
	old := err == nil && status == http.StatusOK && got.N < u.acked
	if missing {
		status, u.acked = http.StatusOK, 0 // it is an answer, and told once
	} else if old {
		u.acked = got.N
	}
	w.count(ctx, due, server, status, err, func(t *benchTally) {
		if missing {
			t.missing++
		} else if old {
			t.old++
		}
	})
}

// send sends one request and returns its answer, and who gave it.
func (w *benchWorker) send(ctx context.Context, method, target string, body []byte) (status int, server string, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	if method == http.MethodPut {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(header.Ack, session.Ack(w.Ack).String())
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get(header.Node), answer, err
}

// count takes one request into the tally. What the end of the run has broken
// off says nothing.
func (w *benchWorker) count(ctx context.Context, due time.Time, server string, status int, err error, more func(t *benchTally)) {
	took := time.Since(due)
	if err != nil {
		w.rest(ctx)
		if ctx.Err() != nil {
			return
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		w.tally.failed[failureText(err)]++
	case status/100 != 2:
		w.tally.failed[strings.TrimSpace(strconv.Itoa(status)+" "+http.StatusText(status))]++
	default:
		w.tally.latency.add(took)
		w.tally.servers[server]++
	}
	if more != nil {
		more(w.tally)
	}
}

// rest keeps a worker from asking a closed port as fast as it can.
func (w *benchWorker) rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}

// failureText is an error without the address, so that equal ones are counted
// together.
func failureText(err error) string {
	if sent, ok := errors.AsType[*url.Error](err); ok {
		err = sent.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// take returns what has been counted since the last time.
func (w *benchWorker) take() *benchTally {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tally
	w.tally = newTally()
	return t
}

// benchTally is what became of some requests.
type benchTally struct {
	took         time.Duration
	latency      histogram // of those that were answered
	failed       map[string]int
	missing, old int
	servers      map[string]int // by whom they were answered
}

func newTally() *benchTally {
	return &benchTally{failed: make(map[string]int), servers: make(map[string]int)}
}

func (t *benchTally) add(o *benchTally) {
	t.took += o.took
	t.latency.merge(&o.latency)
	t.missing, t.old = t.missing+o.missing, t.old+o.old
	for reason, n := range o.failed {
		t.failed[reason] += n
	}
	for name, n := range o.servers {
		t.servers[name] += n
	}
}

func (t *benchTally) done() int { return t.latency.count }

func (t *benchTally) failures() (n int) {
	for _, count := range t.failed {
		n += count
	}
	return n
}

// commonFailure is what most requests failed for.
func (t *benchTally) commonFailure() string {
	if reasons := byCount(t.failed); len(reasons) > 0 {
		return reasons[0]
	}
	return "none was sent"
}

// byCount returns the names by how often each was counted.
func byCount[N int | int64](counts map[string]N) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if d := cmp.Compare(counts[b], counts[a]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

// headerEvery is after how many lines the header is printed again.
const headerEvery = 20

// benchLines prints a line each second.
type benchLines struct {
	look   look
	header []string // the last one printed
	below  int      // lines since then
}

// print prints one second. Columns that a line has no room for are left out
// from then on, the least telling ones first, so that the others stay where
// they are when fewer servers answer.
func (l *benchLines) print(w io.Writer, t *benchTally, at time.Duration) error {
	dispensable := []string{"P50", "MAX", "TIME"}
	line := table{
		header: []string{"TIME", "REQ/S", "P50", "P99", "MAX", "FAILED", "MISSING", "OLD", "ANSWERED BY"},
		right:  []int{0, 1, 2, 3, 4, 5, 6, 7}, look: l.look,
		rows: [][]string{{
			fmt.Sprintf("%5s", at.Round(time.Second)), fmt.Sprintf("%6.0f", float64(t.done())/t.took.Seconds()),
			fmt.Sprintf("%6s", latencyText(t.latency.quantile(0.5))), fmt.Sprintf("%6s", latencyText(t.latency.quantile(0.99))),
			fmt.Sprintf("%6s", latencyText(t.latency.max)),
			strconv.Itoa(t.failures()), strconv.Itoa(t.missing), strconv.Itoa(t.old), t.shares(),
		}},
	}
	for _, name := range dispensable {
		if l.header != nil && !slices.Contains(l.header, name) {
			line.remove(slices.Index(line.header, name))
		}
	}
	if over := -line.fit(dispensable...); over > 0 && !l.look.whole {
		line.cutLast(over)
	}
	line.colour = func(row, column int) string {
		switch name := line.header[column]; {
		case name == "FAILED" && t.failures() > 0, name == "MISSING" && t.missing > 0:
			return red
		case name == "OLD" && t.old > 0:
			return yellow
		default:
			return ""
		}
	}
	header, text, _ := strings.Cut(line.String(), "\n")
	if l.below == headerEvery || !slices.Equal(l.header, line.header) {
		l.header, l.below = line.header, 0
		text = header + "\n" + text
	}
	l.below++
	_, err := io.WriteString(w, text)
	return err
}

// shares says what part of the answers each node gave.
func (t *benchTally) shares() string {
	var parts []string
	for _, name := range slices.SortedFunc(maps.Keys(t.servers), naturalCompare) {
		parts = append(parts, fmt.Sprintf("%s %d%%", printable(orDash(name)), (100*t.servers[name]+t.done()/2)/t.done()))
	}
	return strings.Join(parts, "  ")
}

// latencyText is a duration to three digits.
func latencyText(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(10 * time.Millisecond).String()
	}
}

// write prints the whole run.
func (t *benchTally) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s answered in %v, %.0f a second: median %s, 99%% within %s, slowest %s\n", plural(t.done(), "request"),
		t.took.Round(time.Millisecond), float64(t.done())/t.took.Seconds(),
		latencyText(t.latency.quantile(0.5)), latencyText(t.latency.quantile(0.99)), latencyText(t.latency.max))
	fmt.Fprintf(&b, "%d failed, %d missing, %d old\n", t.failures(), t.missing, t.old)
	for _, reason := range byCount(t.failed) {
		fmt.Fprintf(&b, "  %7d  %s\n", t.failed[reason], printable(reason))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// benchResult is what -json prints. Times are in milliseconds.
type benchResult struct {
	Seconds float64        `json:"seconds"`
	Done    int            `json:"answered"`
	Failed  map[string]int `json:"failed"`
	Missing int            `json:"missing"`
	Old     int            `json:"old"`
	P50     float64        `json:"p50_ms"`
	P99     float64        `json:"p99_ms"`
	Max     float64        `json:"max_ms"`
	Servers map[string]int `json:"answered_by"`
}

func (t *benchTally) result() benchResult {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return benchResult{
		Seconds: t.took.Seconds(), Done: t.done(), Failed: t.failed, Missing: t.missing, Old: t.old,
		P50: ms(t.latency.quantile(0.5)), P99: ms(t.latency.quantile(0.99)), Max: ms(t.latency.max), Servers: t.servers,
	}
}
