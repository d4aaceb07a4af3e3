package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"github.com/seed-95a32959/holdfast/internal/problem"
)

// The dashboard's buttons do what dev's terminal does. The way of one click:
//
//	page ─ POST /admin/dev/kill?node=node-2 ─▶ a child's admin endpoint
//	     ─ the same, with the token ─▶ dev's control ─▶ its loop
//
// The admin endpoint has made sure that the click came from its own page. dev's
// control believes only a sender that knows the token, which is made anew at
// each start and told to the children alone.
const (
	controlURLEnv   = "HOLDFAST_DEV_CONTROL"
	controlTokenEnv = "HOLDFAST_DEV_TOKEN"
	// controlPrefix is where the admin endpoint has it.
	controlPrefix = "/admin/dev"
	// controlTimeout bounds the wait for dev's loop.
	controlTimeout = 5 * time.Second
)

// devVerbs are what can be done to a member.
var devVerbs = []string{"kill", "start", "drain", "pause", "resume"}

// control takes what children pass on, and hands it to dev's loop.
type control struct {
	token  string
	url    string
	server *http.Server
	served chan struct{}
	orders chan order
}

// order is one click, or a question for the members, and the way back.
type order struct {
	verb, name string
	done       chan orderResult // one slot
}

type orderResult struct {
	err     error
	members []devMember
}

// devMember is a place in the cluster of dev, with a process or without.
type devMember struct {
	Name  string `json:"name"`
	Node  bool   `json:"node"`
	State string `json:"state"`
	Pid   int    `json:"pid"`
}

func newControl() (*control, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the dashboard's buttons: %w", err)
	}
	c := &control{token: rand.Text(), url: "http://" + l.Addr().String(), served: make(chan struct{}), orders: make(chan order)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /members", func(w http.ResponseWriter, r *http.Request) { c.pass(w, r, "") })
	for _, verb := range devVerbs {
		mux.HandleFunc("POST /"+verb, func(w http.ResponseWriter, r *http.Request) { c.pass(w, r, verb) })
	}
	c.server = &http.Server{Handler: c.guard(mux), ReadHeaderTimeout: controlTimeout}
	go func() {
		defer close(c.served)
		_ = c.server.Serve(l) // ends by close
	}()
	return c, nil
}

func (c *control) close() {
	c.server.Close()
	<-c.served
}

// env is what a child needs to know.
func (c *control) env() []string {
	return []string{controlURLEnv + "=" + c.url, controlTokenEnv + "=" + c.token}
}

func (c *control) guard(next http.Handler) http.Handler {
	want := []byte("Bearer " + c.token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			problem.Write(w, http.StatusForbidden, "not-a-member", "Only members may ask", "the token of this run of holdfast dev is not there")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// pass hands a request to dev's loop, and its result back.
func (c *control) pass(w http.ResponseWriter, r *http.Request, verb string) {
	ctx, cancel := context.WithTimeout(r.Context(), controlTimeout)
	defer cancel()
	o := order{verb: verb, name: r.URL.Query().Get("node"), done: make(chan orderResult, 1)}
	select {
	case c.orders <- o:
	case <-ctx.Done():
		problem.Write(w, http.StatusServiceUnavailable, "busy", "holdfast dev is busy", "try again")
		return
	}
	var result orderResult
	select {
	case result = <-o.done:
	case <-ctx.Done():
		problem.Write(w, http.StatusServiceUnavailable, "busy", "holdfast dev is busy", "the order was taken; look at the members for what came of it")
		return
	}
	if result.err != nil {
		problem.Write(w, http.StatusConflict, "not-done", "Not done", result.err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// Fails only when the child has left.
	_ = json.NewEncoder(w).Encode(map[string]any{"members": result.members})
}

// obey carries out an order in dev's loop.
func (d *dev) obey(ctx context.Context, o order) {
	var err error
	if o.verb != "" {
		if m := d.named([]string{o.name}); m == nil {
			err = fmt.Errorf("%s whom? ?node= takes router, or node-1 to node-%d", o.verb, len(d.members)-1)
		} else if err = d.act(ctx, o.verb, m); err != nil {
			err = fmt.Errorf("%s %s: %w", o.verb, m.name, err)
		}
	}
	o.done <- orderResult{err, d.devMembers()}
}

func (d *dev) devMembers() []devMember {
	list := make([]devMember, len(d.members))
	for i, m := range d.members {
		list[i] = devMember{Name: m.name, Node: m.node, State: m.state}
		if m.process != nil {
			list[i].Pid = m.process.pid
		}
	}
	return list
}

// controlOfParent returns what answers [controlPrefix] at a child's admin
// endpoint, or nil where no "holdfast dev" has started this process.
func controlOfParent() (http.Handler, error) {
	text, token := os.Getenv(controlURLEnv), os.Getenv(controlTokenEnv)
	if text == "" {
		return nil, nil
	}
	parent, err := url.Parse(text)
	if err != nil || parent.Hostname() != "127.0.0.1" || token == "" {
		return nil, errors.New(controlURLEnv + ": must be a URL on 127.0.0.1, with " + controlTokenEnv + " beside it")
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(parent)
			r.Out.Header = http.Header{"Authorization": {"Bearer " + token}}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			problem.Write(w, http.StatusBadGateway, "no-control", "holdfast dev does not answer", err.Error())
		},
	}
	passed := http.StripPrefix(controlPrefix, proxy)
	mux := http.NewServeMux()
	mux.Handle("GET "+controlPrefix+"/members", passed)
	for _, verb := range devVerbs {
		mux.Handle("POST "+controlPrefix+"/"+verb, passed)
	}
	return mux, nil
}
