package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/seed-95a32959/holdfast/internal/importer"
)

type importCommand struct {
	URL redisURL `arg:"" name:"url" help:"The Redis, as redis://[user:password@]host[:port][/db], or rediss:// for TLS. Of a cluster any node will do: it names the others."`

	To             hostPort `placeholder:"HOST:PORT" default:"127.0.0.1:8082" help:"The -resp address of a node, which passes on what others own."`
	ToPasswordFile string   `name:"to-password-file" placeholder:"FILE" help:"File with the password that the nodes ask for (their -resp-password-file)."`

	FromPasswordFile      string `name:"from-password-file" placeholder:"FILE" help:"File with the password of Redis, so that it need not stand in the URL, which others on this host can see."`
	TLSCA                 string `name:"tls-ca" placeholder:"FILE" help:"Certificates (PEM) that Redis's certificate is held against with rediss://. Default: those of the system."`
	TLSInsecureSkipVerify bool   `name:"tls-insecure-skip-verify" help:"Take any certificate of Redis: whoever is on the way can then read and change what is moved."`

	Match       string          `placeholder:"PATTERN" help:"Move the keys of this pattern alone, such as session:*. Default: all."`
	Rate        requestCount    `placeholder:"N" default:"0" help:"Keys a second; 0 moves as fast as both sides go."`
	Replace     bool            `help:"Overwrite what Holdfast has, and bring back what was deleted there. Without it neither is touched."`
	Connections connectionCount `placeholder:"N" default:"8" help:"Connections to each side, each with some hundred keys on their way."`
	Timeout     duration        `placeholder:"DURATION" default:"10s" help:"How long one call may take. What may pass, such as a broken connection, is tried again for three times as long."`
}

func (*importCommand) Detail() string {
	return `Strings, hashes, sets and sorted sets are moved with the time at which they end. Redis goes on serving,
and is not changed. Lists, streams, values of modules, and hashes with fields that end by themselves are not
moved, for Holdfast has none: they are counted and listed at the end, and the exit code is 1.

  holdfast import redis://10.0.0.7:6379
  holdfast import -match 'session:*' -rate 5000 \
      -from-password-file redis.password redis://10.0.0.7:6379

It can be run again, and after Ctrl-C has to be. A key that Holdfast has is left as it is, and one that was
deleted there in the last 24 hours is not brought back. So move all, let the applications use Holdfast, and run it
once more for what was written to Redis meanwhile; what changed in both stays as Holdfast has it. -replace writes
what Redis has over all of it.

Keys that are made during a run may be missed by it, and those that end during it are not moved. Do not change
which node of a Redis Cluster has which slots meanwhile. Redis's user must be allowed to run INFO, DBSIZE, SCAN,
DUMP, PEXPIRETIME (PTTL before Redis 7) and TYPE.`
}

// redisURL is where a Redis is. It may have a password in it, so no error says
// what was given.
type redisURL string

func (u *redisURL) UnmarshalText(text []byte) error {
	if err := importer.CheckURL(string(text)); err != nil {
		return err
	}
	*u = redisURL(text)
	return nil
}

func (c *importCommand) Run(ctx context.Context, s *streams) error {
	logging.Disable() // the library's: what goes wrong is told once, below
	cfg, err := c.config()
	if err != nil {
		return &usageError{command: "holdfast import", text: err.Error()}
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	m, err := importer.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer m.Close()
	p := importProgress{of: m.Total(), all: c.Match == "", look: lookOf(s.err)}
	begin := time.Now()
	err = p.follow(ctx, s.err, m)
	t := m.Tally()
	if err := writeImport(s.out, &t, time.Since(begin)); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("interrupted after %s of about %d; run it again to go on", plural(int(t.Done()), "key"), m.Total())
	case err != nil:
		return fmt.Errorf("stopped after %s of about %d: %w; run it again to go on", plural(int(t.Done()), "key"), m.Total(), err)
	case t.Failed > 0:
		return fmt.Errorf("%s could not be moved", plural(int(t.Failed), "key"))
	}
	return nil
}

func (c *importCommand) config() (importer.Config, error) {
	cfg := importer.Config{
		From: string(c.URL), To: string(c.To), Match: c.Match, Rate: int(c.Rate), Replace: c.Replace,
		Connections: int(c.Connections), Timeout: time.Duration(c.Timeout), Patience: 3 * time.Duration(c.Timeout),
		TLS: &tls.Config{InsecureSkipVerify: c.TLSInsecureSkipVerify},
	}
	var err error
	if c.FromPasswordFile != "" {
		if cfg.FromPassword, err = readPassword("from-password-file", c.FromPasswordFile); err != nil {
			return cfg, err
		}
	}
	if c.ToPasswordFile != "" {
		if cfg.ToPassword, err = readPassword("to-password-file", c.ToPasswordFile); err != nil {
			return cfg, err
		}
	}
	if c.TLSCA != "" {
		if cfg.TLS.RootCAs, err = readCertificates("tls-ca", c.TLSCA); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

// readCertificates reads those of a file that a flag names.
func readCertificates(flag, path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flag, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("-%s %s: no certificate in it; they are accepted as PEM, which begins with -----BEGIN CERTIFICATE-----", flag, path)
	}
	return pool, nil
}

// importProgress prints how a run goes: a line each second at first, and then
// every ten, for a run may take hours.
type importProgress struct {
	of    int64 // keys of Redis at the start
	all   bool  // they are all to be moved
	look  look
	lines int
	last  importer.Tally
	at    time.Duration // of the last line
}

const importLinesAtFirst = 20 // lines that are printed a second apart

// follow runs an import and prints lines until it ends.
func (p *importProgress) follow(ctx context.Context, w io.Writer, m *importer.Importer) error {
	ctx, cancel := context.WithCancel(ctx)
	finished := make(chan error, 1)
	go func() { finished <- m.Run(ctx) }()
	begin := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var failed error // to print
	for seconds := 1; ; seconds++ {
		select {
		case err := <-finished:
			cancel()
			return errors.Join(err, failed)
		case <-tick.C:
		}
		if failed != nil || p.lines >= importLinesAtFirst && seconds%10 != 0 {
			continue
		}
		if _, failed = io.WriteString(w, p.line(m.Tally(), time.Since(begin))); failed != nil {
			cancel()
		}
	}
}

// line is one line, with the header above it where that has gone out of sight.
func (p *importProgress) line(t importer.Tally, at time.Duration) string {
	speed := float64(t.Done()-p.last.Done()) / (at - p.at).Seconds()
	share, left := "-", "-"
	if p.all && p.of > 0 {
		share = fmt.Sprintf("%d%%", min(100*t.Done()/p.of, 100))
		if average := float64(t.Done()) / at.Seconds(); average > 0 {
			left = (time.Duration(float64(max(p.of-t.Done(), 0))/average) * time.Second).String()
		}
	}
	count := func(n int64) string { return fmt.Sprintf("%7d", n) }
	line := table{
		header: []string{"TIME", "KEYS", "OF", "DONE", "KEYS/S", "MOVED", "THERE", "DELETED", "GONE", "FAILED", "LEFT"},
		right:  []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, look: p.look,
		rows: [][]string{{
			fmt.Sprintf("%6s", at.Round(time.Second)), count(t.Done()), count(p.of), fmt.Sprintf("%4s", share), fmt.Sprintf("%7.0f", speed),
			count(t.Moved), count(t.Present), count(t.Deleted), strconv.FormatInt(t.Gone, 10), strconv.FormatInt(t.Failed, 10), fmt.Sprintf("%6s", left),
		}},
	}
	line.fit("GONE", "DELETED", "MOVED", "TIME")
	line.colour = func(_, column int) string {
		if line.header[column] == "FAILED" && t.Failed > 0 {
			return red
		}
		return ""
	}
	header, text, _ := strings.Cut(line.String(), "\n")
	if p.lines%headerEvery == 0 {
		text = header + "\n" + text
	}
	p.lines++
	p.last, p.at = t, at
	return text
}

// writeImport prints what became of the keys, and lists those that failed.
func writeImport(w io.Writer, t *importer.Tally, took time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s moved in %v, %.0f a second\n", plural(int(t.Moved), "key"), took.Round(time.Millisecond), float64(t.Done())/took.Seconds())
	fmt.Fprintf(&b, "%d were there already, %d deleted there and not brought back, %d gone from Redis meanwhile, %d failed\n",
		t.Present, t.Deleted, t.Gone, t.Failed)
	for _, reason := range byCount(t.Reasons) {
		fmt.Fprintf(&b, "  %7d  %s\n", t.Reasons[reason], printable(reason))
	}
	slices.SortFunc(t.Failures, func(a, b importer.Failure) int { return strings.Compare(a.Key, b.Key) })
	for _, f := range t.Failures {
		fmt.Fprintf(&b, "%s %q: %s\n", printable(f.Type), f.Key, printable(f.Reason))
	}
	if more := t.Failed - int64(len(t.Failures)); more > 0 && len(t.Failures) > 0 {
		fmt.Fprintf(&b, "and %d more\n", more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
