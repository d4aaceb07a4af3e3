package router_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/router"
)

// Nothing was sent, so every method goes on, with its whole body.
func TestRefusedOwner(t *testing.T) {
	for _, c := range []struct {
		method, path string
		size         int
	}{
		{"GET", "/v1/sessions/a", 0},
		{"PUT", "/v1/sessions/a", 300},
		{"POST", "/v1/sessions/a/rotate", 10},
		{"POST", "/buy", 300},
		{"POST", "/upload", 1 << 20}, // streams, but nothing of it was read yet
		{"PUT", "/v1/sessions/a", 1 << 20},
	} {
		t.Run(fmt.Sprintf("%s %s %d", c.method, c.path, c.size), func(t *testing.T) {
			successor, owner := start(t, "successor", nil), gone(t, "owner")
			f := open(t, router.Config{Lookup: fixed(owner, successor.target)})
			body := strings.Repeat("x", c.size)
			require.Equal(t, "successor", f.do(t, c.method, c.path, body).body)
			got := successor.only(t)
			require.Equal(t, body, got.body)
			require.Equal(t, []string{"owner/owner-boot"}, got.header["Holdfast-Failover"])
			require.Equal(t, []router.Target{owner}, *f.failed.Load(), "told once")
			require.Equal(t, router.Stats{Requests: 1, Failovers: 1, Refused: 1}, f.Stats())
		})
	}
}

func TestKeylessRequestIsNotAFailover(t *testing.T) {
	live, dead := start(t, "live", nil), gone(t, "dead")
	turn := 0
	f := open(t, router.Config{Lookup: fixed(dead, dead), Any: func() router.Target {
		turn++
		return []router.Target{dead, live.target}[(turn+1)%2]
	}})
	require.Equal(t, "live", f.do(t, "POST", "/v1/sessions", "{}").body)
	require.NotContains(t, live.only(t).header, "Holdfast-Failover", "it has no owner that failed")
}

// Told of the failure, the ring changes: the successor is the owner now and has
// a successor of its own, which is needed when it is lost as well.
func TestOwnerAndSuccessorLost(t *testing.T) {
	owner, successor, third := gone(t, "owner"), gone(t, "successor"), start(t, "third", nil)
	var route atomic.Pointer[router.Route]
	route.Store(&router.Route{Owner: owner, Successor: successor})
	f := open(t, router.Config{
		Lookup: func(string) router.Route { return *route.Load() },
		Failed: func(router.Target) { route.Store(&router.Route{Owner: successor, Successor: third.target}) },
	})
	require.Equal(t, "third", f.do(t, "PUT", "/v1/sessions/a", "{}").body)
	require.Equal(t, []string{"owner/owner-boot", "successor/successor-boot"}, third.only(t).header["Holdfast-Failover"])
}

func TestNobodyAnswers(t *testing.T) {
	owner, successor := gone(t, "owner"), gone(t, "successor")
	f := open(t, router.Config{Lookup: fixed(owner, successor)})
	got := f.do(t, "PUT", "/v1/sessions/a", "{}")
	d := requireProblem(t, got, http.StatusBadGateway, "member-unreachable")
	require.Equal(t, "1", got.Header.Get("Retry-After"))
	require.Contains(t, d.Detail, "was not carried out")
	require.NotContains(t, got.body, "127.0.0.1", "addresses of members are nobody's business")
	require.Equal(t, router.Stats{Requests: 1, Failovers: 1, Refused: 2, Errors: 1}, f.Stats())
}

// A dial that times out goes on to the successor, but nobody is declared dead:
// silence is not death. Nor is this process's own trouble.
func TestFailedDialsThatProveNothing(t *testing.T) {
	for _, cause := range []error{context.DeadlineExceeded, syscall.EMFILE, syscall.EADDRNOTAVAIL} {
		successor := start(t, "successor", nil)
		owner := router.Target{Name: "owner", Boot: "1", HTTP: "192.0.2.1:80"}
		f := open(t, router.Config{Lookup: fixed(owner, successor.target), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == owner.HTTP {
				return nil, &net.OpError{Op: "dial", Err: cause}
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}})
		require.Equal(t, "successor", f.do(t, "POST", "/buy", "1").body)
		require.Equal(t, []string{"owner/1"}, successor.only(t).header["Holdfast-Failover"])
		require.Empty(t, *f.failed.Load())
	}
}

// When there is nobody else to go to, a dial that timed out is repeated, once.
func TestLastMemberIsDialledAgain(t *testing.T) {
	for _, c := range []struct{ timeouts, status int }{{1, 200}, {2, 502}} {
		successor := start(t, "successor", nil)
		dials := 0
		f := open(t, router.Config{Lookup: fixed(gone(t, "owner"), successor.target), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == successor.target.HTTP {
				if dials++; dials <= c.timeouts {
					return nil, context.DeadlineExceeded
				}
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}})
		require.Equal(t, c.status, f.do(t, "POST", "/upload", strings.Repeat("x", 1<<20)).StatusCode)
		require.Equal(t, 2, dials)
		require.Len(t, *f.failed.Load(), 1, "the owner, and not the successor")
		require.EqualValues(t, 1, f.Stats().Failovers)
		if c.status == 200 {
			require.Len(t, successor.only(t).body, 1<<20)
			require.Equal(t, []string{"owner/owner-boot"}, successor.only(t).header["Holdfast-Failover"], "it is not told of itself")
		}
	}
}

// The connection breaks when the request has been sent, on one that was new as
// well as on one that was kept.
func TestBrokenAfterSending(t *testing.T) {
	for _, c := range []struct {
		method, path, header string
		repeated             bool
	}{
		{"GET", "/page", "", true},
		{"PUT", "/page", "", true},
		{"DELETE", "/v1/sessions/a", "", true},
		{"PATCH", "/v1/sessions/a", "", true},
		{"POST", "/v1/sessions/a/touch", "", true},
		{"POST", "/page", "", false},
		{"PATCH", "/page", "", false},
		{"POST", "/v1/sessions/a/rotate", "", false},
		{"POST", "/v1/sessions/a/rotate", "Idempotency-Key", false},
		{"PUT", "/v1/sessions/a", "If-Match", false},
		{"PUT", "/v1/sessions/a", "If-None-Match", false},
	} {
		t.Run(c.method+" "+c.path+" "+c.header, func(t *testing.T) {
			var breaks atomic.Bool
			owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
				if breaks.Load() {
					panic(http.ErrAbortHandler)
				}
			})
			successor := start(t, "successor", nil)
			f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})
			body := ""
			if c.method != "GET" && c.method != "DELETE" {
				body = `{"a":1}`
			}
			header := []string{"X-Test", "1"}
			if c.header != "" {
				header = append(header, c.header, "*")
			}
			f.do(t, "GET", c.path, "") // leaves a kept connection
			breaks.Store(true)

			got := f.do(t, c.method, c.path, body, header...)
			sends := len(owner.requests()) - 1
			if !c.repeated {
				d := requireProblem(t, got, http.StatusBadGateway, "connection-broken")
				require.Contains(t, d.Detail, "may have been carried out")
				require.Equal(t, 1, sends, "once, and no more")
				require.Empty(t, successor.requests())
				return
			}
			require.Equal(t, "successor", got.body)
			require.LessOrEqual(t, sends, 2+1, "kept, fresh, and for GET the transport's own retry")
			require.Equal(t, body, successor.only(t).body)
			require.NotContains(t, successor.only(t).header, "Holdfast-Failover", "the owner lives; it did not refuse")
			require.Empty(t, *f.failed.Load())
		})
	}
}

// The owner closes kept connections between requests, or just as the next one
// is sent. It is asked again, not the successor.
func TestStaleConnection(t *testing.T) {
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		t.Run(method, func(t *testing.T) {
			owner, successor := start(t, "owner", nil), start(t, "successor", nil)
			f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})
			for i := range 50 {
				require.Equal(t, "owner", f.do(t, "PUT", "/v1/sessions/a", `{"a":1}`).body)
				owner.reset(func(s http.ConnState) bool { return true })
				body := fmt.Sprint(i)
				require.Equal(t, "owner", f.do(t, method, "/v1/sessions/a", body).body)
				requests := owner.requests()
				require.Equal(t, body, requests[len(requests)-1].body)
			}
			require.Empty(t, successor.requests())
			require.Empty(t, *f.failed.Load())
		})
	}
}

// The owner takes the second request on a kept connection and closes it without
// a word, as one does whose idle time ran out just then. For the client that is
// the same as a crash; a fresh connection tells the two apart.
func TestConnectionThatWasStale(t *testing.T) {
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		ok := "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nowner"
		owner, served := script(t, "owner",
			func(c net.Conn) { readHead(c); io.WriteString(c, ok); readHead(c) },
			func(c net.Conn) { readHead(c); io.WriteString(c, ok) },
		)
		successor := start(t, "successor", nil)
		f := open(t, router.Config{Lookup: fixed(owner, successor.target)})
		require.Equal(t, "owner", f.do(t, "GET", "/v1/sessions/a", "").body)
		require.Equal(t, "owner", f.do(t, method, "/v1/sessions/a", "").body, method)
		require.EqualValues(t, 2, served.Load())
		require.Empty(t, successor.requests())
		require.Zero(t, f.Stats().Failovers)
	}
}

// script is a member that plays one function per connection, the last one for
// all that follow.
func script(t testing.TB, name string, plays ...func(net.Conn)) (router.Target, *atomic.Int32) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var served atomic.Int32
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			play := plays[min(int(served.Add(1)), len(plays))-1]
			group.Go(func() {
				defer conn.Close()
				play(conn)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); group.Wait() })
	return router.Target{Name: name, Boot: name + "-boot", HTTP: ln.Addr().String()}, &served
}

// readHead reads up to the end of a request's header.
func readHead(conn net.Conn) {
	var head []byte
	var b [1]byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
		head = append(head, b[0])
	}
}

// A listener that takes the connection and resets it, before or after reading:
// the successor answers whatever may be repeated.
func TestResettingListener(t *testing.T) {
	for name, play := range map[string]func(net.Conn){
		"at once":           func(c net.Conn) { reset(c) },
		"after the request": func(c net.Conn) { readHead(c); reset(c) },
		"in the header":     func(c net.Conn) { readHead(c); io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-"); c.Close() },
		"before the body": func(c net.Conn) {
			readHead(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
			c.Close()
		},
		"in the body": func(c net.Conn) {
			readHead(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			c.Close()
		},
		"no answer but junk": func(c net.Conn) { readHead(c); io.WriteString(c, "\x00\x01junk\r\n\r\n"); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			owner, _ := script(t, "owner", play)
			successor := start(t, "successor", nil)
			f := open(t, router.Config{Lookup: fixed(owner, successor.target)})
			for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
				got := f.do(t, method, "/v1/sessions/a", "")
				require.Equal(t, 200, got.StatusCode)
				require.Equal(t, "successor", got.body)
			}
		})
	}
}

// An application's answer that breaks off is passed on as far as it came, and
// the client sees that it broke off.
func TestAnswerOfTheApplicationBreaksOff(t *testing.T) {
	owner, _ := script(t, "owner", func(c net.Conn) {
		readHead(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		c.Close()
	})
	f := open(t, router.Config{Lookup: fixed(owner, router.Target{})})
	resp, err := f.client.Get(f.url + "/page")
	if err == nil {
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
	}
	require.Error(t, err)
}

// A change was sent to a member that may have made it, and then to another one,
// which has done nothing: that nothing was changed is not known.
func TestNothingDoneAfterAnAttempt(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		retry  string
		told   int
	}{
		{"PUT", 503, "1", http.StatusBadGateway},
		{"PATCH", 503, "later", http.StatusBadGateway},
		{"DELETE", 508, "later", http.StatusBadGateway},
		{"PUT", 507, "", 507},
		{"GET", 503, "1", 503},
	} {
		t.Run(fmt.Sprint(c.method, " ", c.status), func(t *testing.T) {
			owner := start(t, "owner", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
			successor := start(t, "successor", func(w http.ResponseWriter, _ *http.Request) {
				if c.retry != "" {
					w.Header().Set("Holdfast-Retry", c.retry)
				}
				w.WriteHeader(c.status)
			})
			f := open(t, router.Config{Lookup: fixed(owner.target, successor.target), AgreeTimeout: time.Nanosecond})
			got := f.do(t, c.method, "/v1/sessions/a", "{}")
			require.NotEmpty(t, successor.requests())
			if require.Equal(t, c.told, got.StatusCode); c.told == http.StatusBadGateway {
				require.Contains(t, requireProblem(t, got, c.told, "connection-broken").Detail, "may have been carried out")
			}
		})
	}
}

// The member dies with a request that came on a kept connection, and refuses
// the next one.
func TestKeptConnectionBreaksAndNobodyIsLeft(t *testing.T) {
	var dies atomic.Bool
	var owner *member
	owner = start(t, "owner", func(http.ResponseWriter, *http.Request) {
		if dies.Load() {
			owner.kill()
		}
	})
	f := open(t, router.Config{Lookup: fixed(owner.target, gone(t, "successor"))})
	f.do(t, "GET", "/v1/sessions/a", "") // leaves a kept connection
	dies.Store(true)
	d := requireProblem(t, f.do(t, "PUT", "/v1/sessions/a", "{}"), http.StatusBadGateway, "member-unreachable")
	require.Len(t, owner.requests(), 2)
	require.Contains(t, d.Detail, "may have been carried out")
}

// Of an answer that is given up for another member's the client gets nothing,
// however long the other one is, and whether its length is known.
func TestAnswerThatIsGivenUpIsNotSent(t *testing.T) {
	for name, size := range map[string]int{"none": 0, "small": 10, "large": 500} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprint(name, chunked), func(t *testing.T) {
				owner := start(t, "owner", func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Holdfast-Retry", "1")
					w.WriteHeader(http.StatusServiceUnavailable)
					_, _ = io.WriteString(w, "given up")
				})
				want := strings.Repeat("x", size)
				successor := start(t, "successor", func(w http.ResponseWriter, _ *http.Request) {
					if chunked {
						_ = http.NewResponseController(w).Flush()
					}
					_, _ = io.WriteString(w, want)
				})
				f := open(t, router.Config{Lookup: fixed(owner.target, successor.target), RetryBody: 100})
				got := f.do(t, "GET", "/v1/sessions/a", "")
				require.Equal(t, http.StatusOK, got.StatusCode)
				require.Equal(t, want, got.body)
			})
		}
	}
}

// told is a connection that is no socket, and says itself that it has ended.
type told struct {
	net.Conn
	gone *atomic.Bool
}

func (c told) Gone() bool { return c.gone.Load() }

// A kept connection that says that it has ended is not used.
func TestConnectionThatSaysThatItHasEnded(t *testing.T) {
	var gone atomic.Bool
	var dials atomic.Int32
	owner := start(t, "owner", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, router.Target{}), Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return told{conn, &gone}, err
	}})
	for n, ends := range []bool{false, false, true} {
		gone.Store(ends)
		require.Equal(t, "owner", f.do(t, "PATCH", "/v1/sessions/a", "{}").body)
		require.EqualValues(t, 1+n/2, dials.Load())
	}
}

// All attempts of a request say that they are one, and how many were sent
// before and not answered, across members that pass it on.
func TestAttemptsOfARequest(t *testing.T) {
	fence := func(string, router.Target) string { return "fence" }
	breaks := func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }
	owner, successor := start(t, "owner", breaks), start(t, "successor", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, successor.target), Finder: &router.Finder{Trust: trustNobody}, Fence: fence})
	attempt := func(s seen) (id uint64, unanswered int) {
		id, unanswered, err := router.ParseAttempt(s.header.Get("Holdfast-Attempt"))
		require.NoError(t, err)
		return id, unanswered
	}
	require.Equal(t, "successor", f.do(t, "PATCH", "/v1/sessions/a", "{}", "Holdfast-Attempt", "1/7").body)
	first, unanswered := attempt(owner.only(t))
	require.Zero(t, unanswered)
	again, unanswered := attempt(successor.only(t))
	require.Equal(t, first, again)
	require.Equal(t, 1, unanswered)
	require.NotEqual(t, uint64(1), first, "a client cannot say which request it is")

	require.Equal(t, "successor", f.do(t, "PATCH", "/v1/sessions/a", "{}").body)
	other, _ := attempt(owner.requests()[1])
	require.NotEqual(t, first, other)

	// What was only dialled has seen nothing. Who passes a request on says what
	// it was told, and adds its own attempts to it.
	next := start(t, "next", nil)
	f = open(t, router.Config{Lookup: fixed(gone(t, "owner"), next.target), Fence: fence})
	require.Equal(t, "next", f.do(t, "PATCH", "/v1/sessions/a", "{}").body)
	_, unanswered = attempt(next.only(t))
	require.Zero(t, unanswered)

	last := start(t, "last", nil)
	f = open(t, router.Config{Lookup: fixed(start(t, "owner", breaks).target, last.target), Fence: fence, Hops: hopsOf("me")})
	require.Equal(t, "last", f.proven(t, asItIs, "GET", "/page", "", "Holdfast-Attempt", "1f/2").body)
	require.Equal(t, "1f/3", last.only(t).header.Get("Holdfast-Attempt"))
}

// What one member does not answer in time is sent to no other: the work would
// be the same there. Other requests go on to the slow one, which may be slow
// for one of them only.
func TestSlowRequestStaysWhereItIs(t *testing.T) {
	eachServer(t, func(t *testing.T, open func(testing.TB, router.Config) *front) {
		slow := make(chan struct{})
		owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "GET" {
				<-slow
			}
			fmt.Fprint(w, "owner")
		})
		defer close(slow)
		successor := start(t, "successor", nil)
		f := open(t, router.Config{Lookup: fixed(owner.target, successor.target), AnswerTimeout: 30 * time.Millisecond, AppTimeout: 30 * time.Millisecond})
		for i, c := range []struct{ method, path, body string }{
			{"PATCH", "/v1/sessions/a", "{}"}, {"PUT", "/v1/sessions/a", "{}"}, {"DELETE", "/v1/sessions/a", ""}, {"POST", "/v1/sessions/a/rotate", ""},
			{"PUT", "/page", "x"}, {"POST", "/page", "x"}, {"PUT", "/page", strings.Repeat("x", 100_000)},
		} {
			d := requireProblem(t, f.do(t, c.method, c.path, c.body), http.StatusBadGateway, "member-silent")
			require.Contains(t, d.Detail, "may have been carried out")
			require.EqualValues(t, i+1, f.Stats().Silent, "%s %s", c.method, c.path)
			require.Equal(t, "owner", f.do(t, "GET", "/v1/sessions/b", "").body, "it still gets what others ask")
		}
		require.Empty(t, successor.requests())
		require.Empty(t, *f.failed.Load(), "silence is not death")
		require.Zero(t, f.Stats().Failovers)
	})
}

// An owner that is frozen answers nobody. When the others hold it for dead, the
// connections to it are broken, and what hangs on them goes to the successor.
func TestFrozenOwnerHeldForDead(t *testing.T) {
	asked := make(chan net.Conn, 1)
	owner, served := script(t, "owner", func(c net.Conn) { readHead(c); asked <- c; _, _ = io.Copy(io.Discard, c) })
	successor := start(t, "successor", nil)
	var conns atomic.Pointer[net.Conn]
	f := open(t, router.Config{Lookup: fixed(owner, successor.target), AnswerTimeout: waitLimit, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == owner.HTTP && conns.Load() != nil {
			// As such a member's address is, for what has not been sent to it
			// yet.
			return nil, syscall.ECONNREFUSED
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil && addr == owner.HTTP {
			conns.Store(&conn)
		}
		return conn, err
	}})
	go func() {
		<-asked
		(*conns.Load()).Close()
	}()
	require.Equal(t, "successor", f.do(t, "PATCH", "/v1/sessions/a", "{}").body)
	require.EqualValues(t, 1, served.Load())
	require.Len(t, successor.requests(), 1)
}

func TestMemberAsksForRetry(t *testing.T) {
	var body string
	owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		w.Header().Set("Holdfast-Retry", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "not mine")
	})
	successor := start(t, "successor", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})
	require.Equal(t, "successor", f.do(t, "POST", "/v1/sessions/a/rotate", "{}").body, "nothing was done, so any method may go on")
	require.Equal(t, body, successor.only(t).body)
	require.NotContains(t, successor.only(t).header, "Holdfast-Failover")

	alone := open(t, router.Config{Lookup: fixed(owner.target, router.Target{})})
	got := alone.do(t, "GET", "/v1/sessions/a", "")
	require.Equal(t, http.StatusServiceUnavailable, got.StatusCode)
	require.Equal(t, "not mine", got.body, "there is nobody else; its answer is the answer")
}

// A member that had a request passed on is behind with who owns what, or this
// one is.
func TestMemberThatPassesOn(t *testing.T) {
	by := ""
	owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) {
		if by != "" {
			w.Header().Set("Holdfast-Node", by)
		}
	})
	var misled []router.Target
	app := owner.target
	app.App = true
	for _, c := range []struct {
		by, path string
		route    router.Target
		misled   bool
	}{
		{"", "/", owner.target, false},
		{"owner", "/", owner.target, false},
		{"other", "/", owner.target, true},
		{"other", "/v1/sessions/a", owner.target, true},
		{"other", "/v1/sessions", owner.target, false}, // anybody may be asked
		{"other", "/", app, false},                     // whatever an application says of itself
	} {
		misled, by = nil, c.by
		f := open(t, router.Config{Lookup: fixed(c.route, router.Target{}), Any: func() router.Target { return c.route },
			Misled: func(target router.Target) { misled = append(misled, target) }})
		require.Equal(t, http.StatusOK, f.do(t, "GET", c.path, "").StatusCode)
		require.Equal(t, c.misled, len(misled) == 1, c)
		if c.misled {
			require.Equal(t, owner.target, misled[0])
		}
	}
}

func TestPlain503IsAnAnswer(t *testing.T) {
	owner := start(t, "owner", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	successor := start(t, "successor", nil)
	f := open(t, router.Config{Lookup: fixed(owner.target, successor.target)})
	require.Equal(t, http.StatusServiceUnavailable, f.do(t, "GET", "/v1/sessions/a", "").StatusCode)
	require.Empty(t, successor.requests())
}

// The owner is killed with many requests in flight, in the middle of
// everything: each is answered, by the owner or by the successor.
func TestKillUnderLoad(t *testing.T) {
	for range 3 {
		owner, successor := start(t, "owner", answerInFull), start(t, "successor", answerInFull)
		// What is tested is the kill, and not how soon a busy machine gets
		// round to a dial.
		f := open(t, router.Config{Lookup: fixed(owner.target, successor.target), DialTimeout: waitLimit, AnswerTimeout: waitLimit})
		var answered atomic.Int32
		half, stop := make(chan struct{}), make(chan struct{})
		var clients sync.WaitGroup
		for i := range 16 {
			clients.Go(func() {
				methods := []string{"GET", "PUT", "PATCH"}
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					method := methods[(n+i)%3]
					body := strings.Repeat("v", n%2000)
					if method == "GET" {
						body = ""
					}
					if err := oneRequest(f, method, body); err != nil {
						t.Errorf("%s of %d bytes: %v", method, len(body), err)
						return
					}
					if answered.Add(1) == 400 {
						close(half)
					}
				}
			})
		}
		<-half
		owner.kill()
		before := len(successor.requests())
		require.Eventually(t, func() bool { return len(successor.requests()) > before+300 || t.Failed() }, waitLimit, tick)
		close(stop)
		clients.Wait()
		require.Zero(t, f.Stats().Errors)
		require.NotZero(t, f.Stats().Failovers)
		require.NotEmpty(t, *f.failed.Load())
	}
}

// answerInFull echoes the request, so that a client can tell whether it got its
// own answer whole.
func answerInFull(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%s %s", r.Method, body)
}

func oneRequest(f *front, method, body string) error {
	req, err := http.NewRequest(method, f.url+"/v1/sessions/alice", strings.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return errors.New(resp.Status + ": " + string(got))
	case string(got) != method+" "+body:
		return fmt.Errorf("the answer of %d bytes is another request's", len(got))
	}
	return nil
}
