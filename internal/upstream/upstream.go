package upstream

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-95a32959/holdfast/internal/clock"
	"github.com/seed-95a32959/holdfast/internal/importer"
	"github.com/seed-95a32959/holdfast/internal/metric"
	"github.com/seed-95a32959/holdfast/internal/rdb"
	"github.com/seed-95a32959/holdfast/internal/wait"
	"github.com/seed-95a32959/holdfast/session"
)

const (
	// askTime bounds one question, the making of a connection included.
	askTime = 250 * time.Millisecond
	// connections to Redis, and two more, at most; mostKeys of one pipeline.
	connections = 62
	mostKeys    = 128
	// takeOverTime is how long one request with many keys goes on to ask.
	takeOverTime = time.Second
)

// Config is what an Upstream needs. All of it is required but Password and TLS.
type Config struct {
	URL      string      // redis://[user:password@]host[:port][/db], or rediss:// for TLS
	Password string      // comes before the URL's
	TLS      *tls.Config // of rediss://; nil trusts what the system trusts
	// Dial connects to a TCP address.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	Clock    clock.Clock
	Log      *slog.Logger
	Counters *metric.Set
}

// CheckURL says what is wrong with a URL for [Config.URL], without its
// password.
func CheckURL(text string) error { return importer.CheckURL(text) }

// Upstream is a Redis from which sessions are taken over. It implements
// dispatch.Upstream. Its methods may be called at any time but
// [Upstream.Close], after which none is; [Upstream.Run] is called once.
type Upstream struct {
	cfg    Config
	source *redis.Options
	client atomic.Pointer[redisClient]
	wake   wait.Wake // there is something to delete
	count  counters

	// forgetting keeps what has ended from being forgotten while a session is
	// put in its place: held for reading meanwhile, and held by a sweep until
	// the ends are noted. It is taken before mu, and before any lock of the
	// store.
	forgetting sync.RWMutex

	mu      sync.Mutex   // guards what follows
	single  *redisClient // of the first node, where client is of a cluster
	flights map[string]*flight
	missed  misses
	ends    ends
	breaker breaker
	lately  lately
}

// redisClient is a client of one Redis, or of a cluster.
type redisClient struct{ redis.UniversalClient }

// flight is a key that is being taken over.
type flight struct {
	done  chan struct{} // closed when it is here, or missed
	ended bool          // a session under the key has ended here since it began
	moved error         // why it is not here, and may be elsewhere; read once done is closed
}

type counters struct {
	asked, taken, absent, failed, skipped, withheld                 *metric.Counter
	unsupported, unreadable, tooLarge, noRoom, superseded, unplaced *metric.Counter
	deleted, deleteFailed, deleteDropped                            *metric.Counter
}

// New returns an Upstream. It connects to nothing before it is asked. An error
// says what is wrong with the URL, without its password.
func New(cfg Config) (*Upstream, error) {
	source, err := importer.Config{From: cfg.URL, FromPassword: cfg.Password, TLS: cfg.TLS, Connections: connections, Timeout: askTime}.Source()
	if err != nil {
		return nil, err
	}
	c := cfg.Counters
	u := &Upstream{
		cfg: cfg, source: source, wake: wait.NewWake(),
		flights: make(map[string]*flight), missed: newMisses(), ends: newEnds(),
		count: counters{
			asked:         c.Counter("upstream_asked", "Keys that the old Redis was asked for."),
			taken:         c.Counter("upstream_taken", "Sessions taken over from the old Redis."),
			absent:        c.Counter("upstream_absent", "Keys that the old Redis was asked for and does not have either."),
			failed:        c.Counter("upstream_failed", "Keys that the old Redis was asked for and gave no answer: missed."),
			skipped:       c.Counter("upstream_skipped", "Keys that the old Redis was not asked for because it does not answer, or not fast enough for a request with very many: missed."),
			withheld:      c.Counter("upstream_withheld", "Keys that the old Redis was not asked for because a copy that is out of reach may know that they have ended: missed."),
			unsupported:   c.Counter("upstream_unsupported", "Keys of the old Redis that were not taken over because Holdfast does not have their type."),
			unreadable:    c.Counter("upstream_unreadable", "Keys of the old Redis that were not taken over because their value cannot be read."),
			tooLarge:      c.Counter("upstream_too_large", "Keys of the old Redis that were not taken over because they are larger than -max-session."),
			noRoom:        c.Counter("upstream_no_room", "Keys of the old Redis that were not taken over because memory is short, or copies are behind."),
			superseded:    c.Counter("upstream_superseded", "Keys of the old Redis that were not taken over because they were written or ended here meanwhile."),
			unplaced:      c.Counter("upstream_unplaced", "Keys of the old Redis that were not taken over because their partition was moving."),
			deleted:       c.Counter("upstream_deleted", "Keys deleted at the old Redis because their sessions have ended here."),
			deleteFailed:  c.Counter("upstream_deletes_failed", "Deletes at the old Redis that were not confirmed, and are tried again."),
			deleteDropped: c.Counter("upstream_deletes_dropped", "Deletes at the old Redis that were given up; this process asks for none of these keys again."),
		},
	}
	dial := u.dialer()
	single := *source
	single.Dialer = dial
	u.client.Store(&redisClient{redis.NewClient(&single)})
	return u, nil
}

// dialer returns what connects to Redis.
func (u *Upstream) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	config := u.source.TLSConfig
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		conn, err := u.cfg.Dial(ctx, address)
		if err != nil || config == nil {
			return conn, err
		}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secured, nil
	}
}

// becomeCluster has the nodes of a cluster asked for what is theirs, from the
// first time on that one answers that a key is another's. What has been asked of
// that one is still answered.
func (u *Upstream) becomeCluster() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.single != nil {
		return
	}
	o := importer.ClusterOf(u.source)
	o.Dialer = u.dialer()
	u.single = u.client.Swap(&redisClient{redis.NewClusterClient(o)})
}

// Close closes all connections. Nothing may be under way.
func (u *Upstream) Close() error {
	err := u.client.Load().Close()
	if u.single != nil {
		err = errors.Join(err, u.single.Close())
	}
	return err
}

// TakeOver asks Redis for keys of which nothing is known here, and calls put
// for each that is there: with its value, as DUMP writes it, and its end, unix
// ms, 0 for never. It returns when that is done for all keys, by this call or
// by others that were first, or ctx ends: but what this call has begun it
// finishes, for others may wait for it. After [takeOverTime] it begins no
// further question.
//
// What cannot be had is missed, and no error. An error wraps
// session.ErrNotServed, and is one that put has returned, here or there.
func (u *Upstream) TakeOver(ctx context.Context, keys []string, put func(key, payload string, end int64) error) (moved error) {
	led, others := u.join(keys)
	begin := u.cfg.Clock.Since()
	for batch := range slices.Chunk(led, mostKeys) {
		late := u.cfg.Clock.Since()-begin > takeOverTime
		moved = cmp.Or(moved, u.lead(context.WithoutCancel(ctx), batch, put, late))
	}
	for _, f := range others {
		select {
		case <-f.done:
			moved = cmp.Or(moved, f.moved)
		case <-ctx.Done():
			return moved
		}
	}
	return moved
}

// join begins a flight for each key that may be asked for and has none, and
// returns the flights of the others that are under way.
func (u *Upstream) join(keys []string) (led []string, others []*flight) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.cfg.Clock.Since()
	for _, key := range keys {
		switch f := u.flights[key]; {
		case f != nil:
			others = append(others, f)
		case !u.ends.has(key) && !u.missed.has(key, now):
			u.flights[key] = &flight{done: make(chan struct{})}
			led = append(led, key)
		}
	}
	return led, others
}

// lead takes keys over whose flights this call has begun, unless it is late.
func (u *Upstream) lead(ctx context.Context, keys []string, put func(key, payload string, end int64) error, late bool) (moved error) {
	defer func() { u.land(keys, moved) }()
	if late || !u.mayAsk() {
		u.count.skipped.Add(int64(len(keys)))
		return nil
	}
	found, missed := u.ask(ctx, keys)
	for _, f := range found {
		err := put(f.key, f.payload, f.end)
		if u.tally(err) {
			missed = append(missed, f.key)
		}
		if errors.Is(err, session.ErrNotServed) {
			moved = err
		}
	}
	u.miss(missed)
	return moved
}

// land ends flights.
func (u *Upstream) land(keys []string, moved error) {
	u.mu.Lock()
	landed := make([]*flight, len(keys))
	for i, key := range keys {
		landed[i] = u.flights[key]
		delete(u.flights, key)
	}
	u.mu.Unlock()
	for _, f := range landed {
		f.moved = moved
		close(f.done)
	}
}

// miss remembers keys that need not be asked for again at once.
func (u *Upstream) miss(keys []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	until := u.cfg.Clock.Since() + missTime
	for _, key := range keys {
		u.missed.add(key, until)
	}
}

// tally counts what became of a key that was found, and says whether the next
// request would find the same: its value is nothing that can be held here.
func (u *Upstream) tally(err error) (lasts bool) {
	switch {
	case err == nil:
		u.count.taken.Add(1)
		u.mu.Lock()
		defer u.mu.Unlock()
		u.lately.add(u.cfg.Clock.Since())
		return false
	case errors.Is(err, rdb.ErrKind):
		u.count.unsupported.Add(1)
		return true
	case errors.Is(err, rdb.ErrLarge), errors.Is(err, session.ErrTooLarge):
		u.count.tooLarge.Add(1)
		return true
	case errors.Is(err, rdb.ErrChecksum), errors.Is(err, rdb.ErrFormat):
		u.count.unreadable.Add(1)
		return true
	case errors.Is(err, session.ErrFull):
		u.count.noRoom.Add(1)
	case errors.Is(err, session.ErrPrecondition):
		u.count.superseded.Add(1)
	default:
		u.count.unplaced.Add(1)
	}
	return false
}

// Hold says whether a key that is being taken over may be put in its place: not
// if it has ended here meanwhile. If it may, nothing that is here is forgotten
// until [Upstream.Release].
func (u *Upstream) Hold(key string) bool {
	u.forgetting.RLock()
	u.mu.Lock()
	defer u.mu.Unlock()
	f := u.flights[key]
	if f == nil || f.ended {
		u.forgetting.RUnlock()
		return false
	}
	return true
}

// Release ends a [Upstream.Hold] that said yes.
func (u *Upstream) Release() { u.forgetting.RUnlock() }

// Withheld counts keys that were not asked for, because a copy that is out of
// reach may know more of them.
func (u *Upstream) Withheld(keys int) { u.count.withheld.Add(int64(keys)) }

// BeginSweep is called before what has ended is forgotten. Until
// [Upstream.EndSweep] no session is put in its place.
func (u *Upstream) BeginSweep() { u.forgetting.Lock() }

// EndSweep takes the keys of what was forgotten: sessions that have ended,
// copies of them, and tombstones whose time is over.
func (u *Upstream) EndSweep(ended []string) {
	dropped := 0
	for _, key := range ended {
		if !u.note(key) {
			dropped++
		}
	}
	u.forgetting.Unlock()
	u.count.deleteDropped.Add(int64(dropped))
	if len(ended) > 0 {
		u.wake.Kick()
	}
}

// Stats says how much has come from Redis, and what waits to be deleted there.
type Stats struct {
	Address string // host:port
	Taken   int64  // sessions taken over
	Lately  int64  // those of the last [LatelyFor], about
	Ending  int    // keys that wait to be deleted
	Dropped int64  // deletes that were given up
	Err     error  // why nothing is asked at this moment; nil if it is
}

// Stats returns the figures as they are now.
func (u *Upstream) Stats() Stats {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.cfg.Clock.Since()
	return Stats{
		Address: u.source.Addr, Taken: u.count.taken.Load(), Lately: u.lately.sum(now),
		Ending: len(u.ends.waiting), Dropped: u.count.deleteDropped.Load(), Err: u.breaker.err(),
	}
}

// reason adds to an error about a deadline which one it was.
func reason(err error, within time.Duration) error {
	if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout() {
		return fmt.Errorf("no answer within %v: %w", within, err)
	}
	return err
}
