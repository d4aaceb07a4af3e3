package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// lab is a network of hosts of its own: one network namespace a host, each
// with a cable (a veth pair) to a switch, which is a namespace that forwards
// between them. This program's own network has a cable to the switch too.
//
// A link is cut at the switch, one way at a time, by a routing rule that drops
// what one host sends to another. Neither end notices anything but silence, as
// with a broken cable farther away; a rule on the hosts themselves would give
// senders an error.
//
// All names begin with the lab's own prefix, which has this process's number in
// it, so that whatever a killed process left behind can be told from
// what lives.
type lab struct {
	prefix string // of every name: "hf" pid "x" random
	net    [2]int // second and third byte of the addresses 10.x.y.0/24
	hosts  int
}

// mostHosts is how many /30 networks fit into the lab's /24, the first of them
// being this program's.
const mostHosts = 63

// errNoLab says that network namespaces cannot be made here.
var errNoLab = errors.New("network namespaces cannot be made here")

// packages says where Debian has the programs that scenarios need.
var packages = map[string]string{"ip": "iproute2", "ss": "iproute2", "nft": "nftables", "mount": "mount", "umount": "mount"}

// needs says, for the list of scenarios, what has to be there.
func (s scenario) needs() string {
	var list []string
	for _, t := range s.tools {
		if p := packages[t]; !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " (needs root, " + strings.Join(list, ", ") + ")"
}

// checkLab says whether a lab can be made in which the tools work, by making
// an empty one.
func checkLab(ctx context.Context, tools ...string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: that needs root", errNoLab)
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			return fmt.Errorf("%w: the program %s is missing (Debian: apt-get install %s): %w", errNoLab, t, packages[t], err)
		}
	}
	l, err := newLab(ctx, 2)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLab, err)
	}
	if slices.Contains(tools, "nft") {
		err = l.firewall(ctx, 0, "tcp dport 1 drop")
	}
	return errors.Join(err, l.close())
}

// newLab makes hosts 0 to hosts-1. The caller closes the lab, whatever happens.
func newLab(ctx context.Context, hosts int) (l *lab, err error) {
	if hosts > mostHosts {
		return nil, fmt.Errorf("lab of %d hosts: at most %d", hosts, mostHosts)
	}
	if err := sweep(); err != nil {
		return nil, err
	}
	for range 20 {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails
		l = &lab{prefix: fmt.Sprintf("hf%dx%02x", os.Getpid(), b[0]), net: [2]int{64 + int(b[1])%128, int(b[2])}, hosts: hosts}
		if l.free() {
			break
		}
	}
	if err := l.build(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

// free says whether nothing on this host is near the lab's addresses.
func (l *lab) free() bool {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	mine := net.IPNet{IP: net.IPv4(10, byte(l.net[0]), byte(l.net[1]), 0), Mask: net.CIDRMask(24, 32)}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && (mine.Contains(n.IP) || n.Contains(mine.IP)) {
			return false
		}
	}
	return true
}

func (l *lab) build(ctx context.Context) error {
	sw := l.name("s")
	steps := [][]string{
		{"netns", "add", sw},
		{"-n", sw, "link", "set", "lo", "up"},
		// The cable between this program and the switch.
		{"link", "add", l.name("c"), "type", "veth", "peer", "name", "client", "netns", sw},
		{"addr", "add", l.at(-1, 2) + "/30", "dev", l.name("c")},
		{"link", "set", l.name("c"), "up"},
		{"-n", sw, "addr", "add", l.at(-1, 1) + "/30", "dev", "client"},
		{"-n", sw, "link", "set", "client", "up"},
		{"route", "add", l.at(-1, 0) + "/24", "via", l.at(-1, 1)},
	}
	for i := range l.hosts {
		host, port := l.name(strconv.Itoa(i)), "port"+strconv.Itoa(i)
		steps = append(steps, [][]string{
			{"netns", "add", host},
			{"-n", sw, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host},
			{"-n", sw, "addr", "add", l.at(i, 1) + "/30", "dev", port},
			{"-n", sw, "link", "set", port, "up"},
			{"-n", host, "addr", "add", l.at(i, 2) + "/30", "dev", "eth0"},
			{"-n", host, "link", "set", "lo", "up"},
			{"-n", host, "link", "set", "eth0", "up"},
			{"-n", host, "route", "add", "default", "via", l.at(i, 1)},
		}...)
	}
	for _, s := range steps {
		if err := ip(ctx, s...); err != nil {
			return err
		}
	}
	// Forward between the cables, and do not refuse what comes from a host
	// only because nothing may be sent to it: that would make every
	// cut two-way.
	const set = "echo 1 > /proc/sys/net/ipv4/ip_forward; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done"
	return ip(ctx, "netns", "exec", sw, "sh", "-c", set)
}

func (l *lab) name(of string) string { return l.prefix + of }

// at is the address of one end of the cable of host i: 1 is the switch's end, 2
// the host's. Host -1 is this program.
func (l *lab) at(i, end int) string {
	return fmt.Sprintf("10.%d.%d.%d", l.net[0], l.net[1], 4*(i+1)+end)
}

// address is the address of host i.
func (l *lab) address(i int) string { return l.at(i, 2) }

// place puts member i on host i, on the same ports everywhere.
func (l *lab) place() place {
	return place{
		host:   l.address,
		prefix: func(i int) []string { return []string{"ip", "netns", "exec", l.name(strconv.Itoa(i))} },
		port:   func(int) int { return 8080 },
	}
}

// cut drops all that one host sends to another.
func (l *lab) cut(ctx context.Context, from, to int) error { return l.rule(ctx, "add", from, to) }

// heal takes a cut back.
func (l *lab) heal(ctx context.Context, from, to int) error { return l.rule(ctx, "del", from, to) }

func (l *lab) rule(ctx context.Context, verb string, from, to int) error {
	return ip(ctx, append([]string{"-n", l.name("s")}, l.words(verb, from, to)...)...)
}

func (l *lab) words(verb string, from, to int) []string {
	return []string{"rule", verb, "from", l.address(from), "to", l.address(to), "blackhole"}
}

// way leads from one host to another.
type way struct{ from, to int }

// change makes new cuts and takes old ones back, with one call of ip: the new
// ones first, so that no host reaches both those before and those after.
func (l *lab) change(ctx context.Context, cut, heal []way) error {
	var lines strings.Builder
	for _, w := range cut {
		fmt.Fprintln(&lines, strings.Join(l.words("add", w.from, w.to), " "))
	}
	for _, w := range heal {
		fmt.Fprintln(&lines, strings.Join(l.words("del", w.from, w.to), " "))
	}
	return run(ctx, lines.String(), "ip", "-n", l.name("s"), "-batch", "-")
}

// firewall replaces the rules of a host's firewall for what comes in, none to
// let everything pass. A rule is as nft writes it. It looks at packets of
// connections that are there already, too. What the host itself sends passes:
// a rule against that would tell the sender.
func (l *lab) firewall(ctx context.Context, host int, rules ...string) error {
	var script strings.Builder
	fmt.Fprintln(&script, "table inet chaos\ndelete table inet chaos\ntable inet chaos { chain in { type filter hook input priority 0;")
	for _, r := range rules {
		fmt.Fprintln(&script, r)
	}
	fmt.Fprintln(&script, "}\n}")
	return run(ctx, script.String(), "ip", "netns", "exec", l.name(strconv.Itoa(host)), "nft", "-f", "-")
}

// close removes all of the lab. The cables end with the namespaces that they
// are in, the route of this host with its cable.
func (l *lab) close() error { return remove(l.prefix) }

// remove deletes the namespaces whose names begin with prefix.
func remove(prefix string) error {
	names, err := namespaces()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			errs = append(errs, ip(context.Background(), "netns", "del", n))
		}
	}
	return errors.Join(errs...)
}

// sweep removes what labs of killed processes have left behind.
func sweep() error {
	names, err := namespaces()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		if pid, ok := labOf(n); ok && syscall.Kill(pid, 0) == syscall.ESRCH {
			errs = append(errs, ip(context.Background(), "netns", "del", n))
		}
	}
	return errors.Join(errs...)
}

// labOf reads from a namespace's name which process made it, if it is a lab's.
func labOf(name string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, "hf")
	if !ok {
		return 0, false
	}
	number, rest, ok := strings.Cut(rest, "x")
	if !ok || len(rest) < 3 {
		return 0, false
	}
	pid, err := strconv.Atoi(number)
	return pid, err == nil && pid > 1
}

// namespaces lists the names of network namespaces.
func namespaces() ([]string, error) {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return nil, fmt.Errorf("ip netns list: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 0 {
			names = append(names, f[0])
		}
	}
	return names, nil
}

func ip(ctx context.Context, args ...string) error {
	return run(ctx, "", append([]string{"ip"}, args...)...)
}

// run runs a program to its end.
func run(ctx context.Context, stdin string, words ...string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
