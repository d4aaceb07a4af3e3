package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-95a32959/holdfast/internal/inspect"
	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// The keys of a load fall into four families, each of which tests one promise:
//
//   - counter-*: one worker writes 1, 2, 3, … with ack=replica, all read. No
//     read may be behind what was acknowledged before it began.
//   - async-*: the same with ack=async, where what was acknowledged just before
//     its owner crashed may be lost.
//   - register-*: all write, delete and read with ack=replica, for the check of
//     linearizability.
//   - logout-*: created, used, deleted, twice if that was not confirmed, and
//     then saved late and read for the rest of the run.
const (
	counters  = "counter-"
	asyncs    = "async-"
	registers = "register-"
	logouts   = "logout-"
)

const (
	// callTimeout is how long a client waits; it is over what a node itself
	// takes at most to answer.
	callTimeout = 8 * time.Second
	thinkMin    = 2 * time.Millisecond
	thinkMax    = 40 * time.Millisecond
	// stayAtDoor is the share of calls that a worker makes where it made the
	// last one.
	stayAtDoor  = 0.8
	easeFactor  = 100 // how much longer workers think while it is quiet
	logoutsKept = 64  // how many ended sessions are read and saved late
	valueField  = "n"
)

// LoadOptions says how many clients there are, and on how many keys. Zero
// fields mean the defaults.
type LoadOptions struct {
	Workers   int      // 6
	Clients   []string // their kinds, the first worker's first; byAPI where there is none
	Counters  int      // for each worker: 2
	Asyncs    int      // for each worker: 2
	Registers int      // in all: 3
	Family    string   // all calls are to keys of this one; empty for the first four families
	// All lets them call keys of all families, half of the time those of the
	// first four.
	All  bool
	Acks []session.Ack // what calls wait for where it does not matter; default all
	// Large is how large a value is at most, bytes, and seldom.
	Large int
}

// Load is a number of workers, each a client that makes one call after another.
type Load struct {
	LoadOptions
	cluster *Cluster
	seed    uint64
	values  atomic.Int64 // of registers: no two writes write the same
	eased   atomic.Bool
	stopped chan struct{}
	running sync.WaitGroup

	began                 time.Time
	served, calls, wasted atomic.Int64 // the last one nanoseconds, of calls that were not served

	mu    sync.Mutex // guards ended
	ended []string   // logged out sessions, the last logoutsKept
}

// Load starts clients. Stop ends them.
func (c *Cluster) Load(o LoadOptions) *Load {
	for _, d := range []struct {
		n     *int
		value int
	}{{&o.Workers, 6}, {&o.Counters, 2}, {&o.Asyncs, 2}, {&o.Registers, 3}} {
		if *d.n == 0 {
			*d.n = d.value
		}
	}
	l := &Load{LoadOptions: o, cluster: c, seed: c.options.Seed, began: time.Now(), stopped: make(chan struct{})}
	for i := range l.Workers {
		w := &worker{load: l, id: i, by: byAPI, random: rand.New(rand.NewPCG(l.seed, 100+uint64(i))), written: make(map[string]int)}
		if i < len(o.Clients) {
			w.by = o.Clients[i]
		}
		w.client = c.newClient(w.by, i)
		l.running.Go(w.run)
	}
	if slices.Contains(o.Clients, byRedis) {
		l.announce()
	}
	c.load = l
	return l
}

// Rest leaves the cluster alone for so long: no faults, and clients
// call seldom.
func (c *Cluster) Rest(d time.Duration) {
	c.quiet.Store(true)
	c.load.eased.Store(true)
	time.Sleep(d)
	c.load.eased.Store(false)
	c.quiet.Store(false)
	c.history.noteQuiet(d)
}

// Stop ends the clients and waits for their last calls.
func (l *Load) Stop() {
	close(l.stopped)
	l.running.Wait()
}

// ReadAll reads every key that was ever written through every running node, and
// by a client of each other kind, and writes that into the history.
func (l *Load) ReadAll() {
	keys := make([]string, 0)
	for key := range l.cluster.history.Calls() {
		// Of those that are not read by their own key: sub-keys, and tags.
		if key == wholeKey(key) && !strings.HasPrefix(key, lists) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var readers []*worker
	add := func(by string, at *Host) {
		id := l.Workers + len(readers)
		readers = append(readers, &worker{load: l, id: id, by: by, client: l.cluster.newClient(by, id), door: at})
	}
	for _, h := range l.cluster.Running() {
		add(byAPI, h)
	}
	for _, by := range []string{byHTTP, byRouter, byRedis} {
		if doors := l.cluster.doors(by); slices.Contains(l.Clients, by) && len(doors) > 0 {
			add(by, doors[0])
		}
	}
	var reading sync.WaitGroup
	for _, w := range readers {
		reading.Go(func() {
			defer w.client.close()
			for _, key := range keys {
				if w.by == byRedis && lockKey(key) {
					continue // those of other clients are no strings
				}
				w.do(key, &session.Op{Kind: session.Get, Key: key}, session.AckDefault, 0)
			}
		})
	}
	reading.Wait()
}

type worker struct {
	load    *Load
	id      int
	random  *rand.Rand
	by      string // its kind of client
	client  client
	door    *Host
	written map[string]int // the newest value written to each key that is this worker's own
	fresh   int            // logout keys made
	live    []string       // those that are not deleted yet

	family
}

func (w *worker) run() {
	defer w.client.close()
	for {
		think := thinkMin + time.Duration(w.random.Int64N(int64(thinkMax-thinkMin)))
		if w.load.eased.Load() {
			think *= easeFactor
		}
		select {
		case <-w.load.stopped:
			return
		case <-time.After(think):
		}
		if !w.chooseDoor() {
			continue
		}
		switch draw := w.random.IntN(100); {
		case w.load.Family == asyncs:
			w.count(asyncs, w.load.Asyncs, session.AckAsync)
		case w.load.All && w.random.IntN(2) == 0:
			w.more()
		case draw < 30:
			w.count(counters, w.load.Counters, session.AckReplica)
		case draw < 55:
			w.count(asyncs, w.load.Asyncs, session.AckAsync)
		case draw < 75:
			w.register()
		default:
			w.logout()
		}
	}
}

// chooseDoor picks a running node, the same as before most of the time.
func (w *worker) chooseDoor() bool {
	if stay := w.random.Float64() < stayAtDoor; stay && w.door != nil && w.door.Up() {
		return true
	}
	running := w.load.cluster.doors(w.by)
	if len(running) == 0 {
		return false
	}
	w.door = running[w.random.IntN(len(running))]
	return true
}

func fields(n int) []session.Field {
	return []session.Field{{Name: valueField, Value: strconv.Itoa(n)}}
}

// count reads a counter of any worker, or writes the next value of one
// of its own.
func (w *worker) count(family string, each int, ack session.Ack) {
	owner := w.random.IntN(w.load.Workers)
	write := w.random.IntN(2) == 0
	if write {
		owner = w.id
	}
	key := fmt.Sprintf("%s%d-%d", family, owner, w.random.IntN(each))
	if !write {
		w.do(key, &session.Op{Kind: session.Get, Key: key}, ack, 0)
		return
	}
	op := &session.Op{Kind: session.Put, Key: key}
	switch draw := w.random.IntN(10); {
	case draw < 3 && w.written[key] > 0:
		op.Kind = session.Patch
	case draw < 4 && w.written[key] > 0:
		w.do(key, &session.Op{Kind: session.Touch, Key: key}, ack, 0)
		return
	}
	w.written[key]++
	op.Fields = append(fields(w.written[key]), w.padding(op.Kind)...)
	w.do(key, op, ack, w.written[key])
}

func (w *worker) register() {
	key := fmt.Sprintf("%s%d", registers, w.random.IntN(w.load.Registers))
	switch draw := w.random.IntN(10); {
	case draw < 4:
		value := int(w.load.values.Add(1))
		c := w.do(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(value), Revive: true}, session.AckReplica, value)
		if c.Outcome == Deleted { // and this client cannot ask for both at once
			value = int(w.load.values.Add(1))
			w.do(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(value), Create: true}, session.AckReplica, value)
		}
	case draw < 5:
		w.do(key, &session.Op{Kind: session.Delete, Key: key}, session.AckReplica, 0)
	default:
		w.do(key, &session.Op{Kind: session.Get, Key: key}, session.AckReplica, 0)
	}
}

// logout makes a session, or uses or ends one of its own, or reads or saves one
// that has ended, as a slow request does.
func (w *worker) logout() {
	draw := w.random.IntN(10)
	switch {
	case len(w.live) < 2 || draw < 1:
		key := fmt.Sprintf("%s%d-%d", logouts, w.id, w.fresh)
		w.fresh++
		w.live = append(w.live, key)
		w.do(key, &session.Op{Kind: session.Put, Key: key, Fields: fields(1), Create: true}, w.anyAck(), 1)
	case draw < 3:
		key := w.live[0]
		w.live = w.live[1:]
		if c := w.do(key, &session.Op{Kind: session.Delete, Key: key}, session.AckDefault, 0); c.Unconfirmed {
			w.do(key, &session.Op{Kind: session.Delete, Key: key}, session.AckDefault, 0)
		}
		w.load.noteEnded(key)
	default:
		w.late()
	}
}

func (w *worker) late() {
	key := w.load.someEnded(w.random)
	if key == "" || w.random.IntN(4) == 0 {
		key = w.live[w.random.IntN(len(w.live))]
	}
	op := &session.Op{Kind: session.Get, Key: key}
	switch w.random.IntN(5) {
	case 0:
		op = &session.Op{Kind: session.Patch, Key: key, Fields: []session.Field{{Name: "late", Value: "1"}}}
	case 1:
		op = &session.Op{Kind: session.Put, Key: key, Fields: fields(2), Exists: true}
	case 2:
		op = &session.Op{Kind: session.Put, Key: key, Fields: fields(2)}
	}
	w.do(key, op, w.anyAck(), 2)
}

func (w *worker) anyAck() session.Ack {
	acks := w.load.Acks
	if acks == nil {
		acks = []session.Ack{session.AckAsync, session.AckReplica, session.AckAll}
	}
	return acks[w.random.IntN(len(acks))]
}

func (l *Load) noteEnded(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ended) == logoutsKept {
		l.ended = slices.Delete(l.ended, 0, 1)
	}
	l.ended = append(l.ended, key)
}

func (l *Load) someEnded(random *rand.Rand) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ended) == 0 {
		return ""
	}
	return l.ended[random.IntN(len(l.ended))]
}

// do makes one call through the worker's door and writes it down.
func (w *worker) do(key string, op *session.Op, ack session.Ack, value int) Call {
	c, _ := w.ask(key, op, ack, value)
	w.note(c)
	return c
}

// ask makes one call through the worker's door. A door whose process crashes
// meanwhile gives no answer; one that is paused gives it late. There is no call
// if the door is down.
func (w *worker) ask(key string, op *session.Op, ack session.Ack, value int) (c Call, a answer) {
	n, p := w.door.Node()
	if n == nil {
		return c, a
	}
	if w.by == byAPI {
		p.AwaitResume() // who asks is in the same process
	}
	h := w.load.cluster.history
	op = w.client.means(op)
	c = Call{
		Worker: w.id, By: w.by, Door: w.door.Name, Key: key, Kind: op.Kind, Ack: ack, Value: value, TTL: op.TTL, Began: time.Since(h.began),
		Creates: op.Create || op.Revive, Saves: op.Kind == session.Put && !op.Create && !op.Exists,
	}
	a = w.client.call(w.door, op, ack, value)
	c.Told, c.Ended = a.Told, time.Since(h.began)
	w.look(op, &c, a.answered)
	if c.Outcome == Unknown {
		c.Ended = forever
	}
	if c.Outcome != OK {
		return c, a
	}
	if op.Kind == session.Get {
		c.Got, _ = strconv.Atoi(a.values[valueField])
		if pad := a.values[padField]; pad != "" && strings.Trim(pad, pad[:1]) != "" {
			h.Break("bytes of two writes in one value:\n%s", c)
		}
	}
	if op.Kind.Writes() && a.version != 0 {
		c.Stamped = a.version.Time().Sub(h.began)
		has := atLeast(cmp.Or(a.moved, op.Key), a.version) // what a client sees of it
		if a.record != nil {
			has = allOf(a.record)
		}
		// A session that both sides of a cut have begun is merged into one of the
		// two, which may be the older by its version: a client cannot tell. So is
		// one that was begun, as degraded, without knowing of the other, a moment
		// after the cut too.
		other := a.record == nil && (h.splitNow() || c.Created && c.Degraded && !h.majority)
		if a.Acked > 0 && !other && !w.load.cluster.copied(a.Served, has) {
			h.Break("acknowledged by a replica, and none has it:\n%s", c)
		}
	}
	return c, a
}

// look counts whether a call was served, and complains where it had to be.
func (w *worker) look(op *session.Op, c *Call, answered bool) {
	w.load.calls.Add(1)
	switch {
	case answered:
		w.load.served.Add(1)
		return
	case c.Degraded && !verifiedAfterHeal:
	case w.load.All && w.load.cluster.mustServe(w.door, op.Key, c.Began):
		w.load.cluster.history.Break("not served, though nothing had changed for %v and a majority is connected: %s: %s", served, c.Key, c)
	}
	w.load.wasted.Add(int64(c.Ended - c.Began))
}

// share is how much was served: of the calls, or of the clients' time, which
// refusals at once and slow ones make small, each its own.
func (l *Load) share() float64 {
	calls := float64(l.served.Load()) / float64(l.calls.Load())
	return min(calls, 1-float64(l.wasted.Load())/float64(time.Since(l.began)*time.Duration(l.Workers)))
}

// copied says whether the store of another node than owner has something, or
// had when it crashed. A node that is starting cannot be looked into, and one that
// has left in order has handed over what it had.
func (c *Cluster) copied(owner string, has func(*session.Store) bool) bool {
	for _, h := range c.Hosts {
		if h.Name == owner {
			continue
		}
		nodes, unknown := h.lately()
		if unknown {
			return true
		}
		if slices.ContainsFunc(nodes, func(n *node.Node) bool { return has(inspect.Of(n).Store) }) {
			return true
		}
	}
	return false
}

// allOf says of a store whether it has all that a record says.
func allOf(rec *session.Record) func(*session.Store) bool {
	return func(store *session.Store) bool {
		held := store.Peek(rec.Key())
		return held != nil && session.Merge(held, rec) == held
	}
}

// atLeast says of a store whether it has a version of a session, or a later one.
func atLeast(key string, version session.Stamp) func(*session.Store) bool {
	return func(store *session.Store) bool {
		held := store.Peek(key)
		return held != nil && held.Version() >= version
	}
}
