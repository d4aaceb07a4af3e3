package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	// longWork is for how long the application works on a long request, well
	// over the few seconds that a program gives its last requests by habit.
	longWork = 8 * time.Second
	// longUsers is how many users of the node have one when it gets SIGTERM,
	// half of them through the router and half at the node itself.
	longUsers = 16
	// nextEvery is how often each of them asks for something else meanwhile.
	nextEvery = 150 * time.Millisecond
	// nextWithin is by when that must be answered: so long before the long
	// request is that it cannot have waited for it, on a slow machine too.
	nextWithin = longWork / 2
)

// application is the sidecar of each node, which runs in this process: one
// server for each.
type application struct {
	servers []*http.Server
	group   sync.WaitGroup

	mu    sync.Mutex          // guards what follows
	begun map[string][]string // long requests, by user: which node's application began them
}

// work is what the application answers.
type work struct {
	Node  string `json:"node"`            // whose application it is
	Saved int    `json:"saved,omitempty"` // status of the write at the end of a long request
}

// serve starts the application of one node and returns its address.
func (a *application) serve(node string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) { a.long(node, w, r) })
	mux.HandleFunc("/next", func(w http.ResponseWriter, _ *http.Request) { answerWork(w, work{Node: node}) })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: requestTimeout}
	a.servers = append(a.servers, s)
	a.group.Go(func() { _ = s.Serve(l) }) // ends with close
	return l.Addr().String(), nil
}

// long works for a while, and saves what it has done as its last step.
func (a *application) long(node string, w http.ResponseWriter, r *http.Request) {
	user := r.Header.Get("Holdfast-Key")
	a.mu.Lock()
	a.begun[user] = append(a.begun[user], node)
	a.mu.Unlock()
	if !nursery.Sleep(r.Context(), longWork) {
		return
	}
	// It saves where it was told to: at its node, which is about to end.
	api := newDoor(node, strings.TrimPrefix(r.Header.Get("Holdfast-Api"), "http://"), false)
	defer api.close()
	saved, _ := api.one(r.Context(), request{method: "PUT", path: "/v1/sessions/" + user, ack: "replica", body: `{"done":true}`}, requestTimeout)
	answerWork(w, work{Node: node, Saved: saved.status})
}

func answerWork(w http.ResponseWriter, what work) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what) // a client that is gone is told nothing
}

// of returns which nodes' applications have begun a user's long request.
func (a *application) of(user string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.begun[user])
}

func (a *application) close() {
	for _, s := range a.servers {
		s.Close()
	}
	a.group.Wait()
}

// longDrain is a drain of a node whose application is at work.
type longDrain struct {
	cluster *cluster
	app     *application
	node    *member
	users   []string
	doors   []*door // where users ask: the router, and then the node itself

	long []answer // to the long requests, by user

	mu        sync.Mutex // guards what follows
	next      served     // the users' other requests
	elsewhere time.Time  // when another node's application answered the first of them
}

// runLongDrain ends a node in good order while its application works on
// requests that take long.
func runLongDrain(ctx context.Context, e *env, r *report) error {
	app := &application{begun: make(map[string][]string)}
	defer app.close()
	addresses := make(map[string]string)
	for i := range islandNodes {
		m := nursery.NewMember(i+1, "", 0)
		address, err := app.serve(m.Name)
		if err != nil {
			return fmt.Errorf("start the application of %s: %w", m.Name, err)
		}
		addresses[m.Name] = address
	}
	c, err := startClusterWith(ctx, e.bin, e.dir, islandNodes, loopback(e.basePort), func(m *member) {
		if m.Node {
			m.extra = []string{"-app", "http://" + addresses[m.Name]}
		}
	})
	if err != nil {
		return err
	}
	defer c.close()
	d := &longDrain{cluster: c, app: app, node: e.pick(c), long: make([]answer, longUsers)}
	if d.users, err = c.keysOf(ctx, d.node, "long", longUsers); err != nil {
		return err
	}
	for _, m := range []*member{c.router(), d.node} {
		d.doors = append(d.doors, newDoor(m.Name, m.Address(nursery.HTTPPort), true))
	}
	defer func() {
		for _, o := range d.doors {
			o.close()
		}
	}()
	return d.run(ctx, e, r)
}

func (d *longDrain) run(ctx context.Context, e *env, r *report) error {
	var long, next sync.WaitGroup
	begun := time.Now()
	for i, user := range d.users {
		long.Go(func() {
			// A POST: what may be sent twice must not be mistaken for what must not.
			d.long[i], _ = d.doors[i%2].one(ctx, request{method: "POST", path: "/long", user: user, body: "{}"}, 2*longWork+requestTimeout)
		})
	}
	defer long.Wait()
	if err := d.allBegun(ctx); err != nil {
		return err
	}
	e.say("SIGTERM to %s, whose application works on %d requests since %s", d.node.Name, longUsers, short(time.Since(begun)))
	signalled := time.Now()
	asking, stop := context.WithCancel(ctx)
	for _, user := range d.users {
		next.Go(func() { d.askNext(ctx, asking, user) })
	}
	err := d.cluster.terminate(ctx, d.node) // fails unless it ends with 0
	took := time.Since(signalled)
	stop()
	next.Wait()
	long.Wait()
	if err != nil {
		return err
	}
	saved := d.savedWork(ctx)
	d.rows(r, signalled, took, saved)
	return nil
}

// allBegun waits until the application works on all long requests.
func (d *longDrain) allBegun(ctx context.Context) error {
	deadline := time.Now().Add(longWork / 2)
	for _, user := range d.users {
		for len(d.app.of(user)) == 0 {
			if time.Now().After(deadline) {
				return fmt.Errorf("the long request of %s has not begun within %v", user, longWork/2)
			}
			if !nursery.Sleep(ctx, 5*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// askNext sends other requests of a user through the router, one after the
// other.
func (d *longDrain) askNext(ctx, asking context.Context, user string) {
	for asking.Err() == nil {
		a, _ := d.doors[0].one(ctx, request{method: "POST", path: "/next", user: user, body: "{}"}, requestTimeout)
		var got work
		err := json.Unmarshal(a.body, &got)
		d.mu.Lock()
		d.next.total++
		switch {
		case !a.ok() || err != nil || a.took > nextWithin:
			d.next.cases = append(d.next.cases, fmt.Sprintf("%s: %v", user, a))
		default:
			d.next.ok++
			d.next.slowest = max(d.next.slowest, a.took)
			if got.Node != d.node.Name && d.elsewhere.IsZero() {
				d.elsewhere = time.Now()
			}
		}
		d.mu.Unlock()
		nursery.Sleep(asking, nextEvery)
	}
}

// savedWork counts the users whose sessions have what the application saved.
func (d *longDrain) savedWork(ctx context.Context) (n int) {
	for _, user := range d.users {
		a, _ := d.doors[0].one(ctx, request{method: "GET", path: "/v1/sessions/" + user}, requestTimeout)
		if a.ok() && string(a.body) == `{"done":true}` {
			n++
		}
	}
	return n
}

func (d *longDrain) rows(r *report, signalled time.Time, took time.Duration, saved int) {
	answered, once, acknowledged := 0, 0, 0
	var cases []string
	for i, user := range d.users {
		begun := d.app.of(user)
		var got work
		err := json.Unmarshal(d.long[i].body, &got)
		if d.long[i].ok() && err == nil && got.Node == d.node.Name {
			answered++
		}
		if slices.Equal(begun, []string{d.node.Name}) {
			once++
		}
		if got.Saved/100 == 2 {
			acknowledged++
		}
		cases = append(cases, fmt.Sprintf("%s: %v, %s; begun by %v", user, d.long[i], d.long[i].body, begun))
	}
	all := func(what string, n int) {
		r.promise(what, fmt.Sprintf("%d of %d", n, longUsers), "all", n == longUsers, cases)
	}
	all("long requests answered by the application that had begun them", answered)
	all("of them begun once, by one application", once)
	all("what the application saved at the end of them acknowledged with `replica`", acknowledged)
	all("and read back when the node is gone", saved)
	r.promise("other requests of the same users meanwhile",
		fmt.Sprintf("%s of %s served, the slowest after %s", thousands(d.next.ok), thousands(d.next.total), short(d.next.slowest)),
		fmt.Sprintf("all, each within %v", nextWithin), d.next.ok == d.next.total && d.next.ok > longUsers, d.next.cases[:min(len(d.next.cases), examples)])
	where := "none of them"
	if !d.elsewhere.IsZero() {
		where = short(d.elsewhere.Sub(signalled)) + " after the signal"
	}
	r.promise("the first of these that another node's application answered", where, "before the long ones end",
		!d.elsewhere.IsZero() && d.elsewhere.Before(signalled.Add(nextWithin)), nil)
	r.figure("from SIGTERM to the end of the process, with exit code 0", "%s", short(took))
}
