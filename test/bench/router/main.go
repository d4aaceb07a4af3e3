// Command router measures what the router costs beside HAProxy and nginx doing
// the same: pinning each user, named by X-User-ID, to one of three backends by
// consistent hashing.
//
//	go run ./test/bench/router
//
// For each proxy, one after another on the same machine: wrk with 50
// connections and random users, and the processor time (user and system, from
// /proc) that the proxy's processes took, per million requests; and the median
// time of a request on one connection, less that of the same request sent to a
// backend directly. Backends are one nginx with three ports. It needs wrk,
// nginx and haproxy, and says so when one is missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/ring"
	"github.com/seed-95a32959/holdfast/router"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench/router:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	port := flag.Int("base-port", 24800, "first of ten `ports` used on loopback")
	duration := flag.Duration("duration", 10*time.Second, "`time` of each measurement under load")
	rounds := flag.Int("rounds", 2, "`times` that each proxy is measured, in turns")
	serve := flag.String("serve", "", "be the router on this `address`, with the backends given as arguments")
	flag.Parse()
	if *serve != "" {
		return serveRouter(ctx, *serve, flag.Args())
	}
	for _, tool := range []string{"wrk", "nginx", "haproxy"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w: install wrk, nginx and haproxy (apt-get install wrk nginx haproxy)", err)
		}
	}
	dir, err := os.MkdirTemp("", "routerbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, port: *port, duration: *duration}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	return b.measure(ctx, *rounds)
}

// serveRouter is the router as a member runs it, on a ring that does
// not change.
func serveRouter(ctx context.Context, address string, backends []string) error {
	table, err := ring.New(backends, ring.Params{})
	if err != nil {
		return err
	}
	target := func(name string) router.Target { return router.Target{Name: name, HTTP: name} }
	rt, err := router.New(router.Config{
		Lookup: func(key string) router.Route {
			p := ring.Partition(key)
			return router.Route{Owner: target(table.Owner(p)), Successor: target(table.FirstSuccessor(p))}
		},
		Any:    func() router.Target { return target(backends[0]) },
		Finder: &router.Finder{Secrets: [][]byte{[]byte("no secret in a benchmark")}},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, rt.Close)()
	if err := rt.Serve(l); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// bench is the processes of one run.
type bench struct {
	dir      string
	port     int
	duration time.Duration
	proxies  []*proxy
	running  []*exec.Cmd
}

// proxy is one of those compared.
type proxy struct {
	name    string
	address string
	command *exec.Cmd
	cpu     []float64       // seconds per million requests
	rate    []float64       // requests per second
	latency []time.Duration // median on one connection
}

func (b *bench) address(i int) string { return fmt.Sprintf("127.0.0.1:%d", b.port+i) }

func (b *bench) backends() []string { return []string{b.address(0), b.address(1), b.address(2)} }

func (b *bench) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	files := map[string]string{
		"backend.conf": nginxConfig(1, b.backendServers()),
		"nginx.conf":   nginxConfig(2, b.nginxProxy()),
		"haproxy.cfg":  b.haproxyConfig(),
		"users.lua":    usersScript,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	b.proxies = []*proxy{
		{name: "holdfast", address: b.address(3), command: exec.Command(self, append([]string{"-serve", b.address(3)}, b.backends()...)...)},
		{name: "haproxy", address: b.address(4), command: exec.Command("haproxy", "-db", "-f", b.path("haproxy.cfg"))},
		{name: "nginx", address: b.address(5), command: exec.Command("nginx", "-p", b.dir, "-c", b.path("nginx.conf"))},
	}
	commands := []*exec.Cmd{exec.Command("nginx", "-p", b.dir, "-c", b.path("backend.conf"))}
	addresses := b.backends()
	for _, p := range b.proxies {
		commands = append(commands, p.command)
		addresses = append(addresses, p.address)
	}
	for _, c := range commands {
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			return fmt.Errorf("start %s: %w", c.Path, err)
		}
		b.running = append(b.running, c)
	}
	for _, address := range addresses {
		if err := awaitListener(ctx, address); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) stop() {
	for _, c := range b.running {
		_ = c.Process.Signal(syscall.SIGTERM) // if it has ended already, Wait says so
	}
	for _, c := range b.running {
		_ = c.Wait() // killed by our signal, as it should be
	}
}

func awaitListener(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// measure takes turns, so that what the machine does besides hits all alike.
func (b *bench) measure(ctx context.Context, rounds int) error {
	var direct []time.Duration
	for range rounds {
		d, err := medianLatency(ctx, b.address(0))
		if err != nil {
			return err
		}
		direct = append(direct, d)
		for _, p := range b.proxies {
			if err := b.measureOne(ctx, p); err != nil {
				return fmt.Errorf("measure %s: %w", p.name, err)
			}
		}
	}
	fmt.Printf("wrk -c 50, %v a run, %d runs in turns, random users over three backends; one connection directly to a backend: %.3f ms\n\n",
		b.duration, rounds, milliseconds(least(direct)))
	fmt.Printf("%-9s %26s %12s %24s\n", "proxy", "CPU s per million requests", "requests/s", "added at one connection")
	for _, p := range b.proxies {
		fmt.Printf("%-9s %26s %12.0f %21.3f ms\n", p.name, list(p.cpu), most(p.rate), milliseconds(least(p.latency)-least(direct)))
	}
	return nil
}

func list(values []float64) string {
	var words []string
	for _, v := range values {
		words = append(words, fmt.Sprintf("%.1f", v))
	}
	return strings.Join(words, " ")
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
