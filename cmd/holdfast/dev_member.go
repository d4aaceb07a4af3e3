package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
)

// Ports of a member, counted from its first.
const (
	httpPort = iota
	adminPort
	respPort
	peerPort
	gossipPort
)

// States of a member, as shown.
const (
	starting = "starting"
	running  = "running"
	frozen   = "paused"
	stopped  = "stopped"
)

// member is one place in the cluster of dev, with a process or without.
type member struct {
	name    string
	base    int  // first port
	node    bool // else the router
	state   string
	process *process // nil when none runs
	asked   string   // what the user last did to the process: kill, drain or nothing
	again   bool     // start it as soon as its process has ended
}

func (m *member) address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.base+port))
}

func (m *member) url(port int) string { return "http://" + m.address(port) }

// checkPorts reports the first port of the member that is taken.
func (m *member) checkPorts() error {
	names := map[int]string{httpPort: "http", adminPort: "admin", gossipPort: "gossip"}
	if m.node {
		names[respPort], names[peerPort] = "resp", "peer"
	}
	for port := httpPort; port <= gossipPort; port++ {
		name, used := names[port]
		if !used {
			continue
		}
		if err := checkFree(m.address(port), port == gossipPort); err != nil {
			return fmt.Errorf("port %d, for %s of %s, cannot be used: %w", m.base+port, name, m.name, err)
		}
	}
	return nil
}

func checkFree(address string, udpToo bool) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return portError(err)
	}
	l.Close()
	if !udpToo {
		return nil
	}
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return portError(err)
	}
	return c.Close()
}

// portError leaves out the address that the caller names.
func portError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// obituary says who ended a process and what that means.
func (m *member) obituary(e ended) string {
	start := "`start " + strings.TrimPrefix(m.name, "node-") + "` starts it again"
	switch {
	case m.asked == "kill" && e.code < 0:
		return "was killed, as you asked; " + start
	case m.asked == "drain" && e.code == 0:
		return "has drained and left, as you asked; " + start
	case e.code < 0:
		return "was ended from outside (" + e.reason + "); " + start
	case e.code == 0:
		return "has stopped cleanly, told by a signal or over its admin address; " + start
	default:
		return "ended by itself (" + e.reason + "); its log above tells why; " + start
	}
}

// awaitReady asks until the answer is 200. It gives up when the process is
// gone, when ctx ends, and after readyTimeout, with what was answered last.
func awaitReady(ctx context.Context, gone <-chan struct{}, url string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	every := time.NewTicker(readyEvery)
	defer every.Stop()
	last := errors.New("not asked yet")
	for {
		err := askReady(ctx, url)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil { // else it tells of our own giving up only
			last = err
		}
		select {
		case <-gone:
			return last
		case <-ctx.Done():
			return last
		case <-every.C:
		}
	}
}

func askReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(problemText(resp))
	}
	_, err = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	return err
}

// command does what a line of input says and reports whether to end dev.
func (d *dev) command(ctx context.Context, line string) (quit bool) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return false
	}
	verb := words[0]
	switch verb {
	case "quit", "exit":
		return true
	case "help":
		d.out.say("%s", devHelp)
		return false
	case "status":
		d.status(ctx)
		return false
	}
	if !slices.Contains(devVerbs, verb) {
		d.out.say("unknown command %q; commands are kill, start, drain, pause, resume, status, help, quit", verb)
		return false
	}
	m := d.named(words[1:])
	if m == nil {
		d.out.say("%s whom? %s 1 to %d, or router", verb, verb, len(d.members)-1)
		return false
	}
	if err := d.act(ctx, verb, m); err != nil {
		d.out.say("%s %s: %v", verb, m.name, err)
	}
	return false
}

// named finds the member that "2", "node-2" or "router" means.
func (d *dev) named(words []string) *member {
	if len(words) != 1 {
		return nil
	}
	for _, m := range d.members {
		if m.name == words[0] || m.name == "node-"+words[0] {
			return m
		}
	}
	return nil
}

func (d *dev) act(ctx context.Context, verb string, m *member) error {
	if verb == "start" {
		if m.process != nil && m.ending(ctx) {
			m.again = true
			d.out.say("%s (pid %d) is about to end, and starts again then", m.name, m.process.pid)
			return nil
		}
		if m.process != nil {
			return fmt.Errorf("it is %s already, with pid %d", m.state, m.process.pid)
		}
		if err := d.start(ctx, m); err != nil {
			return err
		}
		has := "its memory empty"
		if d.config.DataDir != "" {
			has = "with what its disk has"
		}
		d.out.say("%s starts with pid %d, %s", m.name, m.process.pid, has)
		return nil
	}
	if m.process == nil {
		return errors.New("it does not run; start it first")
	}
	switch verb {
	case "kill":
		m.asked = verb
		return m.process.kill()
	case "drain":
		m.asked = verb
		if m.state == frozen {
			d.out.say("%s is paused and drains when it is resumed", m.name)
		}
		return m.process.drain()
	case "pause":
		m.state = frozen
		d.out.say("%s (pid %d) is frozen; `resume %s` lets it go on", m.name, m.process.pid, m.name)
		return m.process.pause()
	default: // resume
		m.state = running
		d.out.say("%s (pid %d) goes on", m.name, m.process.pid)
		return m.process.resume()
	}
}

// ending says whether the member's process is on its way out: told to end from
// here, or drained by a signal or over its admin address.
func (m *member) ending(ctx context.Context) bool {
	if m.asked != "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, askReadyTimeout)
	defer cancel()
	body, err := askAdmin(ctx, adminURL(m.url(adminPort)), "/admin/stats")
	if err != nil {
		return m.state == running // it answered before, and does not any more
	}
	var stats adminapi.Stats
	return json.Unmarshal(body, &stats) == nil && stats.State == "leaving"
}

// status prints the processes at once, and what the cluster says of itself when
// it has answered.
func (d *dev) status(ctx context.Context) {
	d.out.say("\n%s", d.processTable())
	base := d.members[0].url(adminPort)
	for _, m := range d.members {
		if m.process != nil && m.state == running {
			base = m.url(adminPort)
			break
		}
	}
	d.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, statusTimeout)
		defer cancel()
		var text strings.Builder
		cluster, _, err := clusterStatus(ctx, adminURL(base))
		if err == nil {
			err = writeStatus(&text, cluster, findingsOf(cluster, nil), nil, lookOf(d.out.w).plain())
		}
		if err != nil {
			fmt.Fprintf(&text, "status: %v", err)
		}
		d.out.say("\n%s", text.String())
	})
}
