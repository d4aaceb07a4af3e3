package importer

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Config says what is moved from where to where.
type Config struct {
	From         string      // URL: redis://[user:password@]host[:port][/db], or rediss:// for TLS
	FromPassword string      // comes before the URL's
	TLS          *tls.Config // of rediss://; nil trusts what the system trusts
	To           string      // host:port of the Redis endpoint of a node of Holdfast
	ToPassword   string      // "" if it asks for none

	Match       string        // moves the keys of this pattern alone; "" is all
	Rate        int           // keys a second; 0 is no limit
	Connections int           // to each side, one batch on each at a time; 0 is 8
	Replace     bool          // overwrites what Holdfast has, and brings back what was deleted there
	Timeout     time.Duration // of one call; 0 is 10 s
	Patience    time.Duration // for what passes; 0 is 30 s
}

const (
	// mostKeys is the size of a batch. More makes pipelines no quicker.
	mostKeys = 200
	// scanCount is how many slots of its table Redis looks at for a SCAN: 0.2 ms
	// in which it does nothing else.
	scanCount = 1000
	// sendBytes is about how much goes to Holdfast in one pipeline, and a
	// quarter of what a worker likes to hold of values.
	sendBytes = 1 << 20
)

// Importer moves keys once. Its methods may be called at any time, [Importer.Run]
// and [Importer.Close] once.
type Importer struct {
	cfg     Config
	from    redis.UniversalClient
	to      redis.UniversalClient
	total   int64 // keys that Redis had at the start
	largest int   // bytes of a payload that Holdfast takes
	ends    func(context.Context, redis.Pipeliner, string) *redis.DurationCmd
	left    bool // ends tells the time that is left, not the time of the end
	pace    *rate.Limiter
	batch   int // keys of one batch at most

	mu    sync.Mutex // guards tally
	tally Tally
}

// Open connects to both sides, and looks at what they are.
func Open(ctx context.Context, cfg Config) (*Importer, error) {
	cfg.Connections = cmp.Or(cfg.Connections, 8)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Patience = cmp.Or(cfg.Patience, 30*time.Second)
	source, err := cfg.Source()
	if err != nil {
		return nil, err
	}
	m := &Importer{cfg: cfg, pace: rate.NewLimiter(rate.Inf, mostKeys), batch: mostKeys, tally: newTally()}
	if cfg.Rate > 0 { // a batch is a tenth of a second, so that the rate is even
		m.batch = min(max(cfg.Rate/10, 1), mostKeys)
		m.pace = rate.NewLimiter(rate.Limit(cfg.Rate), m.batch)
	}
	m.from = redis.NewClient(source)
	target := cfg.client(&redis.Options{Addr: cfg.To, Password: cfg.ToPassword})
	m.to = redis.NewClient(target)
	if err := m.meet(ctx, source, target); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Close closes all connections.
func (m *Importer) Close() error { return errors.Join(m.from.Close(), m.to.Close()) }

// Total is how many keys Redis had at the start, whatever [Config.Match] says.
func (m *Importer) Total() int64 { return m.total }

// CheckURL says what is wrong with a URL for [Config.From], without its password.
func CheckURL(text string) error {
	_, err := Config{From: text}.Source()
	return err
}

// Source is how Redis is reached. An error says what is wrong with the URL,
// without its password.
func (cfg Config) Source() (*redis.Options, error) {
	const accepted = "must be redis://[user:password@]host[:port][/db], or rediss:// for TLS, with @ : / in a password as %40 %3A %2F"
	u, err := url.Parse(cfg.From)
	switch {
	case err != nil: // its text has the password in it
		return nil, errors.New("the URL of Redis cannot be read: it " + accepted)
	case u.Scheme != "redis" && u.Scheme != "rediss", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("the URL of Redis, %q: it %s", u.Redacted(), accepted)
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if n, err := strconv.Atoi(db); err != nil || n < 0 {
			return nil, fmt.Errorf("the URL of Redis, %q: %q is no number of a database, and it %s", u.Redacted(), db, accepted)
		}
	}
	o, err := redis.ParseURL(cfg.From)
	if err != nil {
		return nil, fmt.Errorf("the URL of Redis, %q: it %s", u.Redacted(), accepted)
	}
	if cfg.FromPassword != "" {
		o.Password = cfg.FromPassword
	}
	if o.TLSConfig != nil && cfg.TLS != nil {
		name := o.TLSConfig.ServerName
		o.TLSConfig = cfg.TLS.Clone()
		o.TLSConfig.ServerName = name
	}
	return cfg.client(o), nil
}

// client fills in what is alike at both sides. What is tried again is decided
// here and not in the library, which cannot tell what is worth it. RESP2 needs
// no HELLO, which servers before 6 do not know.
func (cfg Config) client(o *redis.Options) *redis.Options {
	o.Protocol, o.DisableIdentity, o.MaxRetries, o.DialerRetries = 2, true, -1, 1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = cfg.Timeout, cfg.Timeout, cfg.Timeout, cfg.Timeout
	o.ContextTimeoutEnabled = true
	o.PoolSize = cfg.Connections + 2 // those of the workers, and what else is asked
	return o
}

// ClusterOf has a client ask each node of a cluster for what is its own.
func ClusterOf(o *redis.Options) *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs: []string{o.Addr}, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		Protocol: o.Protocol, DisableIdentity: o.DisableIdentity, MaintNotificationsConfig: o.MaintNotificationsConfig,
		MaxRetries: o.MaxRetries, DialerRetries: o.DialerRetries, PoolSize: o.PoolSize, PoolTimeout: o.PoolTimeout,
		DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		ContextTimeoutEnabled: o.ContextTimeoutEnabled,
	}
}

// meet looks at both sides: whether Redis is a cluster, how it tells the end of
// a key, how many there are, and what Holdfast takes.
func (m *Importer) meet(ctx context.Context, source, target *redis.Options) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	if err := m.meetRedis(ctx, source); err != nil {
		return fmt.Errorf("redis at %s: %w", source.Addr, m.cfg.reason(err))
	}
	if err := m.meetHoldfast(ctx, target); err != nil {
		return fmt.Errorf("holdfast at %s: %w", m.cfg.To, m.cfg.reason(err))
	}
	return nil
}

func (m *Importer) meetRedis(ctx context.Context, source *redis.Options) error {
	// Where this cannot be asked, a node of a cluster would pass for all of it.
	info, err := m.from.Info(ctx, "cluster").Result()
	if err != nil {
		return fmt.Errorf("INFO cluster: %w", err)
	}
	if strings.Contains(info, "cluster_enabled:1") {
		if err := m.from.Close(); err != nil {
			return err
		}
		m.from = redis.NewClusterClient(ClusterOf(source))
	}
	if m.total, err = m.from.DBSize(ctx).Result(); err != nil {
		return fmt.Errorf("DBSIZE: %w", err)
	}
	m.ends = func(ctx context.Context, p redis.Pipeliner, key string) *redis.DurationCmd {
		return p.PExpireTime(ctx, key)
	}
	if err := m.from.PExpireTime(ctx, "holdfast:import").Err(); err != nil {
		if _, answered := errors.AsType[redis.Error](err); !answered {
			return fmt.Errorf("PEXPIRETIME: %w", err)
		}
		m.left = true
		m.ends = func(ctx context.Context, p redis.Pipeliner, key string) *redis.DurationCmd { return p.PTTL(ctx, key) }
	}
	return nil
}

// meetHoldfast refuses whatever else speaks RESP: another Redis knows no NOREVIVE.
func (m *Importer) meetHoldfast(ctx context.Context, target *redis.Options) error {
	info, err := m.to.Info(ctx, "server").Result()
	if err != nil {
		return fmt.Errorf("INFO server: %w", err)
	}
	if !strings.Contains(info, "holdfast_version:") {
		return errors.New("it answers, and is no node of Holdfast; give the -resp address of a node")
	}
	const limit = "proto-max-bulk-len"
	settings, err := m.to.ConfigGet(ctx, limit).Result()
	if err != nil {
		return fmt.Errorf("CONFIG GET %s: %w", limit, err)
	}
	if m.largest, err = strconv.Atoi(settings[limit]); err != nil {
		return fmt.Errorf("CONFIG GET %s: %q is no number of bytes", limit, settings[limit])
	}
	return m.spread(ctx, target)
}

// spread has each node given what it owns, if all can be reached from here: the
// node at [Config.To] would pass on one key after the other. Behind a forwarded
// port it has to.
func (m *Importer) spread(ctx context.Context, target *redis.Options) error {
	ctx, cancel := context.WithTimeout(ctx, min(m.cfg.Timeout/2, 2*time.Second))
	defer cancel()
	cluster := redis.NewClusterClient(ClusterOf(target))
	if err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() }); err != nil {
		return cluster.Close()
	}
	err := m.to.Close()
	m.to = cluster
	return err
}

// relearn has clients of a cluster ask anew who owns what. By themselves they do
// so once a minute, and dial a node that is gone until then.
func (m *Importer) relearn(ctx context.Context) {
	for _, client := range []redis.UniversalClient{m.from, m.to} {
		if cluster, ok := client.(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx)
		}
	}
}

// Run moves keys until all were looked at, ctx ends, or what does not pass goes
// wrong. Keys that failed are no error of it: the tally has them.
func (m *Importer) Run(ctx context.Context) error {
	group, working := errgroup.WithContext(ctx)
	batches := make(chan []string, m.cfg.Connections)
	group.Go(func() error {
		defer close(batches)
		return m.scan(working, batches)
	})
	for range m.cfg.Connections {
		group.Go(func() error {
			w := worker{Importer: m, keys: m.batch}
			for batch := range batches {
				if err := w.move(working, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// scan puts the keys of every master into batches.
func (m *Importer) scan(ctx context.Context, batches chan<- []string) error {
	cluster, ok := m.from.(*redis.ClusterClient)
	if !ok {
		return m.scanOne(ctx, m.from, batches)
	}
	// The masters are looked at side by side; one that fails ends the others.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		err := m.scanOne(ctx, master, batches)
		if err != nil {
			cancel()
		}
		return err
	})
}

func (m *Importer) scanOne(ctx context.Context, master redis.Cmdable, batches chan<- []string) error {
	for cursor := uint64(0); ; {
		var keys []string
		next := cursor
		_, err := patiently(ctx, m, []uint64{cursor}, func(ctx context.Context, at []uint64) ([]uint64, error) {
			var err error
			if keys, next, err = master.Scan(ctx, at[0], m.cfg.Match, scanCount).Result(); passes(err) {
				return at, err
			}
			return nil, err
		})
		if err != nil {
			return fmt.Errorf("redis: SCAN: %w", err)
		}
		for len(keys) > 0 {
			n := min(len(keys), m.batch)
			select {
			case batches <- keys[:n:n]:
			case <-ctx.Done():
				return ctx.Err()
			}
			keys = keys[n:]
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
