package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

const (
	users = 500
	// Users ask once in one to two seconds, 333 requests a second together: a
	// few hundredths of a core.
	slowest, fastest = 2 * time.Second, time.Second
	// addresses that users come from, so that a bound on the connections of one
	// address meets the attacker and not them.
	addresses = 50
	// freshly is how often a user comes over a new connection, one in so many
	// requests: who only kept old ones would not notice that new ones
	// are refused.
	freshly = 8
	// unsureMost bounds the writes without an answer that a user remembers.
	unsureMost = 32
)

// crowd is all ordinary users of a cluster.
type crowd struct {
	users []*user
	score score
	stop  context.CancelFunc
	group sync.WaitGroup
}

// newCrowd makes the users and stores their sessions.
func newCrowd(c *cluster) (*crowd, error) {
	w := &crowd{}
	for i := range users {
		u := newUser(c, i)
		w.users = append(w.users, u)
		if err := u.create(); err != nil {
			w.end()
			return nil, fmt.Errorf("store the session of %s: %w", u.key, err)
		}
	}
	return w, nil
}

// start has the users ask until end.
func (w *crowd) start(ctx context.Context) {
	ctx, w.stop = context.WithCancel(ctx)
	for i, u := range w.users {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		w.group.Go(func() { u.live(ctx, &w.score, r) })
	}
}

// end waits until every user has its last answer, and closes the connections.
func (w *crowd) end() {
	if w.stop != nil {
		w.stop()
		w.group.Wait()
	}
	for _, u := range w.users {
		u.leave()
	}
}

// user is an ordinary user with one session. Each writes by one protocol
// alone, and reads by both.
type user struct {
	key, name string
	from      string // its address
	redis     bool   // writes by the Redis protocol
	router    string
	nodes     []string // addresses of the Redis protocol, the user's own first
	password  string
	lossy     bool

	web, cache *line // nil when not connected

	tried  int   // number of the last write
	sure   int   // the last that was acknowledged
	unsure []int // those without an answer since, which may have been done
}

func newUser(c *cluster, i int) *user {
	u := &user{
		key: fmt.Sprintf("user-%04d", i), name: fmt.Sprintf("Name of user %d", i), from: fmt.Sprintf("127.0.1.%d", 1+i%addresses),
		redis: i%3 == 0, router: c.router().Address(nursery.HTTPPort), password: c.password, lossy: c.lossy,
	}
	for k := range nodes {
		u.nodes = append(u.nodes, c.nodes()[(i+k)%nodes].Address(nursery.RESPPort))
	}
	return u
}

func (u *user) path() string { return "/v1/sessions/" + u.key }

// value is what write number k writes. All are of one length, so that no write
// makes a session grow.
func value(k int) string { return fmt.Sprintf("v%07d", k) }

const asJSON = "Content-Type: application/json"

// create stores the session through the router.
func (u *user) create() error {
	body, err := json.Marshal(map[string]string{"name": u.name, "theme": "dark", "n": value(0)})
	if err != nil {
		return err
	}
	a, err := u.ask(request{"PUT", u.path() + "?ttl=2h", []string{asJSON, "Holdfast-Ack: replica"}, string(body)}, 5*time.Second)
	if err == nil && a.status != http.StatusCreated {
		err = fmt.Errorf("%d: %.200s", a.status, a.body)
	}
	if err == nil && u.redis { // from the start in the form in which it will be written
		var v resp.Value
		if v, err = u.command(5*time.Second, "HSET", u.key, "n", value(0)); err == nil && v.Kind != resp.Int {
			err = fmt.Errorf("HSET: %s", said(v))
		}
	}
	return err
}

// live asks again and again, at a bounded rate.
func (u *user) live(ctx context.Context, s *score, r *rand.Rand) {
	next := time.Now().Add(time.Duration(r.Int64N(int64(slowest))))
	for nursery.Sleep(ctx, time.Until(next)) {
		if r.IntN(freshly) == 0 {
			u.leave()
		}
		begun := time.Now()
		err := u.step(r)
		s.add(begun, time.Since(begun), err)
		for next = next.Add(pause(r)); next.Before(time.Now()); next = next.Add(pause(r)) {
			s.add(next, 0, errMissed)
		}
	}
}

func pause(r *rand.Rand) time.Duration {
	return fastest + time.Duration(r.Int64N(int64(slowest-fastest)))
}

// step makes one request, and says what was wrong with its answer.
func (u *user) step(r *rand.Rand) error {
	roll, other := r.IntN(10), r.IntN(4) == 0
	switch {
	case roll < 3:
		return u.write()
	case roll < 4:
		return u.touch()
	case u.redis != other:
		return u.readCache()
	default:
		return u.readWeb()
	}
}

func (u *user) write() error {
	u.tried++
	k := u.tried
	u.unsure = append(u.unsure, k)
	if n := len(u.unsure) - unsureMost; n > 0 {
		u.unsure = u.unsure[n:]
	}
	if u.redis {
		v, err := u.command(patience, "HSET", u.key, "n", value(k))
		if err == nil && (v.Kind != resp.Int || v.Int != 0) {
			err = fmt.Errorf("HSET: %s", said(v))
		}
		if err == nil {
			u.wrote(k)
		}
		return err
	}
	a, err := u.ask(request{"PATCH", u.path(), []string{asJSON}, `{"n":"` + value(k) + `"}`}, patience)
	if err == nil && a.status == http.StatusOK {
		u.wrote(k)
	}
	return u.judgeWeb("PATCH", a, err)
}

// wrote notes that a write was acknowledged. One without an answer may still
// come after it, so only those long before are forgotten.
func (u *user) wrote(k int) {
	u.sure = k
	u.unsure = slices.DeleteFunc(u.unsure, func(n int) bool { return n == k || n < k-unsureMost })
}

func (u *user) touch() error {
	if u.redis {
		v, err := u.command(patience, "EXPIRE", u.key, "7200")
		if err == nil && (v.Kind != resp.Int || v.Int != 1) {
			err = fmt.Errorf("EXPIRE: %s", said(v))
		}
		return err
	}
	a, err := u.ask(request{method: "POST", path: u.path() + "/touch"}, patience)
	if err == nil && a.status != http.StatusNoContent {
		err = fmt.Errorf("touch: %d", a.status)
	}
	return err
}

func (u *user) readWeb() error {
	a, err := u.ask(request{method: "GET", path: u.path()}, patience)
	return u.judgeWeb("GET", a, err)
}

func (u *user) judgeWeb(what string, a answer, err error) error {
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("%s: %d", what, a.status)
	}
	var fields map[string]string
	if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
		return fmt.Errorf("%s: not the session: %w", what, err)
	}
	return u.judge(fields)
}

func (u *user) readCache() error {
	v, err := u.command(patience, "HGETALL", u.key)
	if err != nil {
		return err
	}
	if v.Kind != resp.Array || len(v.Elems)%2 != 0 {
		return fmt.Errorf("HGETALL: %s", said(v))
	}
	fields := make(map[string]string)
	for i := 0; i < len(v.Elems); i += 2 {
		fields[v.Elems[i].Text] = v.Elems[i+1].Text
	}
	return u.judge(fields)
}

// judge holds a session against what was written.
func (u *user) judge(fields map[string]string) error {
	switch {
	case len(fields) == 0:
		return errors.New("the session is empty or gone")
	case fields["name"] != u.name || fields["theme"] != "dark" || len(fields) != 3:
		return errors.New("wrong content")
	}
	n, err := strconv.Atoi(fields["n"][min(1, len(fields["n"])):])
	switch {
	case err != nil || n > u.tried:
		return errors.New("a value that nobody wrote")
	case n != u.sure && !u.lossy && !slices.Contains(u.unsure, n):
		return errors.New("an older value than was acknowledged")
	}
	return nil
}

// ask sends a request to the router, over the connection that there is.
func (u *user) ask(r request, timeout time.Duration) (answer, error) {
	if u.web == nil {
		l, err := dial(u.from, u.router)
		if err != nil {
			return answer{}, plain("router", err)
		}
		u.web = l
	}
	a, err := u.web.ask(r, timeout)
	if err != nil || a.last {
		u.web.Close()
		u.web = nil
	}
	return a, plain("router", err)
}

// command sends a command to the user's node. Where nodes are killed it is sent
// once more to the next, as clients with several addresses do; elsewhere a
// node that sends its own users away must not be hidden so.
func (u *user) command(timeout time.Duration, args ...string) (resp.Value, error) {
	v, err := u.tell(timeout, args)
	if err != nil && !isTimeout(err) && u.lossy {
		u.nodes = append(u.nodes[1:], u.nodes[0])
		v, err = u.tell(timeout, args)
	}
	return v, plain("node", err)
}

func (u *user) tell(timeout time.Duration, args []string) (v resp.Value, err error) {
	if u.cache == nil {
		l, err := dial(u.from, u.nodes[0])
		if err != nil {
			return v, err
		}
		if u.password != "" {
			if v, err = l.command(timeout, "AUTH", u.password); err == nil && v.IsError() {
				err = errors.New("AUTH: " + said(v))
			}
			if err != nil {
				l.Close()
				return v, err
			}
		}
		u.cache = l
	}
	if v, err = u.cache.command(timeout, args...); err != nil {
		u.cache.Close()
		u.cache = nil
	}
	return v, err
}

func (u *user) leave() {
	for _, l := range []*line{u.web, u.cache} {
		if l != nil {
			l.Close()
		}
	}
	u.web, u.cache = nil, nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// plain names what went wrong without the ports of the connection, so that
// errors can be counted.
func plain(at string, err error) error {
	switch {
	case err == nil:
		return nil
	case isTimeout(err):
		return fmt.Errorf("no answer from the %s in %v", at, patience)
	default:
		for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
			err = e
		}
		return fmt.Errorf("connection to the %s: %w", at, err)
	}
}
