package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

type devCommand struct {
	Nodes    nodeCount   `placeholder:"N" default:"3" help:"Number of nodes, 1 to 50, named node-1, node-2, …"`
	BasePort port        `placeholder:"PORT" default:"8080" help:"First port. The router's HTTP is on it, its admin address on the next; node i has its HTTP 10·i above it, then admin, RESP, peer and gossip."`
	Copies   copyCount   `placeholder:"N" default:"2" help:"Nodes that hold each session, 1 to 16."`
	Ack      ackMode     `placeholder:"MODE" default:"async" help:"What a write waits for: async, replica or all."`
	TTL      duration    `name:"ttl" placeholder:"DURATION" default:"30m" help:"Idle time of a session whose writer gives none."`
	Memory   memoryLimit `placeholder:"SIZE" default:"${memory}" help:"Most bytes of sessions over all nodes, of which each gets the same part, or none. Default: 60 percent of what the container allows, or else of what the machine has."`
	DataDir  string      `placeholder:"DIR" help:"Directory for the sessions of all nodes, which are there then when dev is started again. It is made if it is not there. Default: memory alone."`
	HTTPHost hostNames   `name:"http-host" placeholder:"NAME,…" help:"Further names by which the session API is reached, beside localhost and IP addresses: see holdfast node -h."`
	LogLevel logLevel    `placeholder:"LEVEL" default:"info" help:"Least level that nodes and router log: debug, info, warn or error."`
}

func (*devCommand) Detail() string {
	return `Starts a router and nodes as real processes on loopback, waits until they are ready, and shows
their log lines. Nothing is restarted behind your back: kill a node and watch its successor go
on. Lines that it takes:

` + devHelp + `

It ends at quit, Ctrl-C, SIGTERM, or when its terminal is closed, not at the end of its input;
the processes end with it, even when it is killed with -9. Their sessions are gone then, for
they lived in memory, unless -data-dir keeps them. Gossip is encrypted with a key of its own; a node that you start beside it with
-join finds that key, another user's does not.`
}

const devHelp = `  kill 2            kill node-2 at once (SIGKILL), as a crash would
  start 2           start it again, with what its disk has, or an empty memory
  drain 2           let it hand its sessions over and leave (SIGTERM)
  pause 2, resume 2 freeze it and let it go on (SIGSTOP, SIGCONT)
  status            show the processes and how the cluster does
  help, quit        (kill, start and so on take "router" too)`

const (
	readyTimeout  = 30 * time.Second // from a start to ready, before dev complains
	readyEvery    = 100 * time.Millisecond
	waitingEvery  = 2 * time.Second // between two lines that say what is waited for
	statusTimeout = 2 * time.Second
	// finishTimeout is how long nodes with disks may take to end.
	finishTimeout = 5 * time.Second
	// askReadyTimeout bounds a question that the terminal waits for.
	askReadyTimeout = 300 * time.Millisecond
)

// Run starts the cluster and then does what its terminal, its children and the
// system's signals tell it, one at a time, in this goroutine; what it knows of
// the children is therefore under no lock.
func (c *devCommand) Run(ctx context.Context, s *streams) (err error) {
	// Linux kills the children when the thread that forked them ends. That must
	// be the end of dev and not some earlier moment.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, stopSignals := signal.NotifyContext(ctx, endSignals()...)
	defer stopSignals()

	members, err := c.members()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "holdfast-dev-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	secret, err := c.secret(dir)
	if err != nil {
		return err
	}
	gossipKey := filepath.Join(dir, "gossip.key")
	if err := writeSecret(gossipKey); err != nil {
		return err
	}
	left, err := leaveDevKeys(gossipKey, members)
	if err != nil {
		return fmt.Errorf("leave the gossip key for members that you start beside: %w", err)
	}
	defer left.remove()
	out := newConsole(s.out)
	defer out.close()
	control, err := newControl()
	if err != nil {
		return err
	}
	defer control.close()
	children, err := newFamily(len(members), control.env())
	if err != nil {
		return err
	}
	d := &dev{
		config: c, out: out, children: children, members: members, secret: secret, gossipKey: gossipKey, orders: control.orders,
		settled: make(chan settled, len(members)),
	}
	defer d.stop()
	return d.loop(ctx, s.in)
}

// members lays out names and ports, and checks that all of them are free.
func (c *devCommand) members() ([]*member, error) {
	const perNode = 10
	base, last := int(c.BasePort), int(c.BasePort)+perNode*int(c.Nodes)+gossipPort
	if last > 65535 {
		return nil, &usageError{command: "holdfast dev", text: fmt.Sprintf("-base-port %d: %s would need ports up to %d; must be 1 to %d",
			base, plural(int(c.Nodes), "node"), last, 65535-(last-base))}
	}
	members := []*member{{name: "router", base: base}}
	for i := 1; i <= int(c.Nodes); i++ {
		members = append(members, &member{name: "node-" + strconv.Itoa(i), base: base + perNode*i, node: true})
	}
	for _, m := range members {
		if err := m.checkPorts(); err != nil {
			return nil, fmt.Errorf("-base-port %d: %w; choose other ports with -base-port", base, err)
		}
	}
	return members, nil
}

// secret returns the file that has the secret of cookies: of those that visitors
// keep, where their sessions are kept.
func (c *devCommand) secret(temporary string) (path string, err error) {
	if c.DataDir == "" {
		path = filepath.Join(temporary, "cookie.secret")
		return path, writeSecret(path)
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return "", fmt.Errorf("-data-dir: %w", err)
	}
	path = filepath.Join(c.DataDir, "cookie.secret")
	if _, err = os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		err = writeSecret(path)
	}
	if err != nil {
		return "", fmt.Errorf("-data-dir: %w", err)
	}
	return path, nil
}

func writeSecret(path string) error {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(hex.EncodeToString(key[:])+"\n"), 0o600)
}

// dev is a running cluster, seen from the process that started it.
type dev struct {
	config    *devCommand
	out       *console
	children  *family
	members   []*member // the router, then the nodes in order
	secret    string    // file with the cookie secret
	gossipKey string    // file with the key of gossip
	settled   chan settled
	orders    <-chan order   // from the dashboard
	tasks     sync.WaitGroup // readiness checks and status questions
	shown     bool           // the table has been printed
}

// settled says that a started member has become ready, or has not in time.
type settled struct {
	m       *member
	process *process
	took    time.Duration
	err     error
}

func (d *dev) loop(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the tasks, which stop waits for
	for _, m := range d.members {
		if err := d.start(ctx, m); err != nil {
			return err
		}
	}
	lines := readLines(ctx, in)
	waiting := time.NewTicker(waitingEvery)
	defer waiting.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok {
				lines = nil // the end of the input is not the end of dev
			} else if quit := d.command(ctx, line); quit {
				return nil
			}
		case o := <-d.orders:
			d.obey(ctx, o)
		case e := <-d.children.ended:
			if err := d.gone(ctx, e); err != nil {
				return err
			}
		case r := <-d.settled:
			d.ready(r)
		case <-waiting.C:
			if !d.shown {
				d.out.say("waiting for %s", strings.Join(d.unready(), ", "))
			}
		}
	}
}

// stop ends all children at once and without a drain: each would hand its
// sessions to others that are ending too, and nothing outlives dev anyway. Where
// something does, nodes are told to end first, and have a moment for it.
func (d *dev) stop() {
	d.tasks.Wait()
	n, left := 0, "lived in memory and are gone"
	if d.config.DataDir != "" {
		n, left = d.finish(), "are in "+d.config.DataDir
	}
	if n += d.children.stop(); n > 0 {
		d.out.say("stopped %d processes; their sessions %s", n, left)
	}
}

// finish has all nodes write what they hold, and end. It returns how many have.
func (d *dev) finish() (ended int) {
	deadline := time.After(finishTimeout)
	for _, m := range d.members {
		if m.node && m.process != nil {
			_ = m.process.drain() // it may have ended
		}
	}
	for _, m := range d.members {
		if m.node && m.process != nil {
			select {
			case <-m.process.gone:
				ended++
			case <-deadline:
				return ended // one is frozen, perhaps
			}
		}
	}
	return ended
}

// start starts a member and watches until it is ready.
func (d *dev) start(ctx context.Context, m *member) error {
	p, err := d.children.start(m.name, d.args(m), d.out.prefixed(m.name))
	if err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	m.process, m.state, m.asked = p, starting, ""
	d.tasks.Go(func() {
		begun := time.Now()
		err := awaitReady(ctx, p.gone, m.url(adminPort)+"/readyz")
		select {
		case d.settled <- settled{m: m, process: p, took: time.Since(begun), err: err}:
		case <-ctx.Done():
		}
	})
	return nil
}

// args returns the command line of a member.
func (d *dev) args(m *member) []string {
	role := "router"
	var join []string
	founds := m.node // a cluster by itself, where no other node runs
	for _, other := range d.members {
		if other.node {
			join = append(join, other.address(gossipPort))
			founds = founds && (other == m || other.process == nil)
		}
	}
	args := []string{"-name", m.name,
		"-http", m.address(httpPort), "-admin", m.address(adminPort), "-gossip", m.address(gossipPort),
		"-join", strings.Join(join, ","), "-copies", strconv.Itoa(int(d.config.Copies)),
		"-secret-file", d.secret, "-gossip-key-file", d.gossipKey, "-log-level", string(d.config.LogLevel)}
	if len(d.config.HTTPHost) > 0 {
		args = append(args, "-http-host", strings.Join(d.config.HTTPHost, ","))
	}
	if m.node {
		role = "node"
		ack, _ := d.config.Ack.MarshalText()
		if founds {
			args = append(args, "-expect", "1")
		}
		args = append(args, "-resp", m.address(respPort), "-peer", m.address(peerPort),
			"-ack", string(ack), "-memory", d.config.memoryOfOne(), "-ttl", time.Duration(d.config.TTL).String(), "-demo")
		if d.config.DataDir != "" {
			args = append(args, "-data-dir", filepath.Join(d.config.DataDir, m.name))
		}
	}
	return append([]string{role}, args...)
}

// memoryOfOne is the -memory of each node.
func (c *devCommand) memoryOfOne() string {
	if limit := c.Memory.bytes(); limit > 0 {
		return memoryText(max(limit/int64(c.Nodes), 1))
	}
	return string(noMemoryLimit)
}

// gone takes note of a child that has ended, and says who ended it. Only a
// child that fails by itself before the cluster was ever ready ends dev: its
// flags or its ports are wrong, and the others would wait for it for ever.
func (d *dev) gone(ctx context.Context, e ended) error {
	m := d.memberOf(e.process)
	if m == nil {
		return nil
	}
	if e.code > 0 && !d.shown && m.asked == "" {
		return fmt.Errorf("%s ended while starting: %s; its log above tells why", m.name, e.reason)
	}
	d.out.say("%s (pid %d) %s", m.name, e.process.pid, m.obituary(e))
	m.process, m.state = nil, stopped
	d.showOnce()
	if m.again {
		m.again = false
		return d.start(ctx, m)
	}
	return nil
}

func (d *dev) ready(r settled) {
	if r.m.process != r.process || r.m.state != starting {
		return // it has ended since, or was frozen
	}
	r.m.state = running
	switch {
	case r.err != nil:
		d.out.say("%s (pid %d) is not ready after %v: %v", r.m.name, r.process.pid, r.took.Round(time.Second), r.err)
	case d.shown:
		d.out.say("%s (pid %d) is ready after %v", r.m.name, r.process.pid, r.took.Round(time.Millisecond))
	}
	d.showOnce()
}

func (d *dev) unready() []string {
	var names []string
	for _, m := range d.members {
		if m.state == starting {
			names = append(names, m.name)
		}
	}
	return names
}

// showOnce prints the table when no member is waited for any more.
func (d *dev) showOnce() {
	if d.shown || len(d.unready()) > 0 {
		return
	}
	d.shown = true
	d.out.say("%s", d.welcome())
}

func (d *dev) welcome() string {
	router := d.members[0].url(httpPort)
	return fmt.Sprintf(`
%s
Try it, then kill the node that answered (Holdfast-Node) and ask again:

  curl -i -X PUT %[2]s/v1/sessions/alice -H 'Content-Type: application/json' -d '{"cart":["book"]}'
  curl -i %[2]s/v1/sessions/alice

Admin: %[3]s/ shows it, and takes kills by a button   Commands: help   End: quit or Ctrl-C
`, d.processTable(), router, d.members[0].url(adminPort))
}

func (d *dev) processTable() string {
	t := table{header: []string{"NAME", "PID", "STATE", "HTTP", "ADMIN"}, right: []int{1}}
	for _, m := range d.members {
		pid := "-"
		if m.process != nil {
			pid = strconv.Itoa(m.process.pid)
		}
		t.rows = append(t.rows, []string{m.name, pid, m.state, m.url(httpPort), m.url(adminPort)})
	}
	return t.String()
}

func (d *dev) memberOf(p *process) *member {
	for _, m := range d.members {
		if m.process == p {
			return m
		}
	}
	return nil
}

// readLines returns the lines of the input as they come. The channel is closed
// at its end. A read of a terminal cannot be given up, so this goroutine may
// stay until the process ends.
func readLines(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(in); scan.Scan(); {
			select {
			case lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
