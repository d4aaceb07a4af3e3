package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/node"
	"github.com/seed-95a32959/holdfast/session"
)

// The types below read one kind of flag value each. Their errors begin with the
// value and say what is accepted; the parser puts the flag before them. Whether
// values go together is for the package that uses them to say.

func refuse(text []byte, accepted string) error {
	return fmt.Errorf("%q: must be %s", text, accepted)
}

// setWhole sets *n from text if it is a whole number from low to high.
func setWhole[T ~int](n *T, text []byte, low, high T) error {
	v, err := strconv.Atoi(string(text))
	if err != nil || T(v) < low || T(v) > high {
		return refuse(text, fmt.Sprintf("a whole number from %d to %d", low, high))
	}
	*n = T(v)
	return nil
}

// setOneOf sets *s from text if it is one of the choices.
func setOneOf[T ~string](s *T, text []byte, choices ...string) error {
	if !slices.Contains(choices, string(text)) {
		return refuse(text, "one of "+strings.Join(choices, ", "))
	}
	*s = T(text)
	return nil
}

type copyCount int

func (n *copyCount) UnmarshalText(text []byte) error { return setWhole(n, text, 1, 16) }

type pointCount int

func (n *pointCount) UnmarshalText(text []byte) error { return setWhole(n, text, 1, 1000) }

type nodeCount int

// At 50 nodes one change of members already keeps a core busy for 64 ms in each
// of 50 processes; more than that is not for one machine.
func (n *nodeCount) UnmarshalText(text []byte) error { return setWhole(n, text, 1, 50) }

type userCount int

func (n *userCount) UnmarshalText(text []byte) error { return setWhole(n, text, 1, 1_000_000) }

type connectionCount int

func (n *connectionCount) UnmarshalText(text []byte) error { return setWhole(n, text, 1, 10_000) }

type percentage int

func (n *percentage) UnmarshalText(text []byte) error { return setWhole(n, text, 0, 100) }

type requestCount int

func (n *requestCount) UnmarshalText(text []byte) error { return setWhole(n, text, 0, 1_000_000_000) }

type port int

func (n *port) UnmarshalText(text []byte) error { return setWhole(n, text, 1, math.MaxUint16) }

type weight float64

func (w *weight) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(v >= 0.1 && v <= 10) { // written so that NaN fails too
		return refuse(text, "a number from 0.1 to 10, such as 2 or 0.5")
	}
	*w = weight(v)
	return nil
}

type loadBound float64

func (f *loadBound) UnmarshalText(text []byte) error {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(v > 1) || v > 100 { // written so that NaN fails too
		return refuse(text, "a number over 1 and up to 100, such as 1.1")
	}
	*f = loadBound(v)
	return nil
}

// duration is positive and carries its unit.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v <= 0 {
		return refuse(text, "a duration over 0 with its unit, such as 90s, 30m or 12h")
	}
	*d = duration(v)
	return nil
}

// size is a number of bytes, more than none.
type size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{ // a name that ends like another comes first
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func (n *size) UnmarshalText(text []byte) error {
	number, unit := string(text), int64(1)
	for _, u := range sizeUnits {
		if head, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(head), u.bytes
			break
		}
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v < 1 || v > math.MaxInt64/unit {
		return refuse(text, "a size such as 65536, 512KiB, 1MiB or 4GiB")
	}
	*n = size(v * unit)
	return nil
}

// memoryLimit is a size, or none.
type memoryLimit string

const noMemoryLimit memoryLimit = "none"

func (m *memoryLimit) UnmarshalText(text []byte) error {
	if memoryLimit(text) != noMemoryLimit {
		var n size
		if n.UnmarshalText(text) != nil {
			return refuse(text, "a size such as 512MiB or 4GiB, or none")
		}
	}
	*m = memoryLimit(text)
	return nil
}

// bytes is the limit, 0 for none.
func (m memoryLimit) bytes() int64 {
	var n size
	if m == noMemoryLimit || n.UnmarshalText([]byte(m)) != nil {
		return 0
	}
	return int64(n)
}

// hostPort is an address to listen on; an empty host means all of this one's.
type hostPort string

func (a *hostPort) UnmarshalText(text []byte) error {
	if err := checkHostPort(string(text)); err != nil {
		return refuse(text, "host:port, such as 127.0.0.1:8080; "+err.Error())
	}
	*a = hostPort(text)
	return nil
}

func checkHostPort(s string) error {
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		if addr, ok := errors.AsType[*net.AddrError](err); ok {
			return errors.New(addr.Err)
		}
		return err
	}
	if n, err := strconv.Atoi(service); err != nil || n < 0 || n > math.MaxUint16 {
		return fmt.Errorf("%q is no port from 0 to 65535", service)
	}
	if strings.ContainsAny(host, " \t\r\n/") {
		return fmt.Errorf("%q is no host", host)
	}
	return nil
}

// hostPorts is a list of addresses; the flag may be given more than once.
type hostPorts []string

func (l *hostPorts) UnmarshalText(text []byte) error {
	for s := range strings.SplitSeq(string(text), ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue // "a:1," and an empty variable in a compose file
		}
		if err := checkHostPort(s); err != nil {
			return refuse(text, "host:port,host:port…; "+err.Error())
		}
		*l = append(*l, s)
	}
	return nil
}

// hostNames is a list of names without ports; the flag may be given more than
// once.
type hostNames []string

func (l *hostNames) UnmarshalText(text []byte) error {
	for s := range strings.SplitSeq(string(text), ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if strings.ContainsAny(s, ":/ *") || len(s) > 253 {
			return refuse(text, "host names without scheme, port or wildcard, such as ops.example")
		}
		*l = append(*l, s)
	}
	return nil
}

// prefixes is a list of networks; "none" is the empty one.
type prefixes []netip.Prefix

func (l *prefixes) UnmarshalText(text []byte) error {
	if *l == nil {
		*l = prefixes{} // nil would stand for the default further down
	}
	if string(text) == "none" {
		return nil
	}
	for s := range strings.SplitSeq(string(text), ",") {
		p, err := parsePrefix(strings.TrimSpace(s))
		if err != nil {
			return refuse(text, "networks such as 10.0.0.0/8,192.168.1.7, or none")
		}
		*l = append(*l, p)
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

type ackMode session.Ack

func (a *ackMode) UnmarshalText(text []byte) error {
	v, err := session.ParseAck(string(text))
	if err != nil || v == session.AckDefault {
		return refuse(text, "one of async, replica, all")
	}
	*a = ackMode(v)
	return nil
}

// MarshalText returns what UnmarshalText takes.
func (a ackMode) MarshalText() ([]byte, error) { return []byte(session.Ack(a).String()), nil }

type partitionMode node.PartitionMode

func (m *partitionMode) UnmarshalText(text []byte) error {
	return setOneOf(m, text, string(node.PartitionAvailable), string(node.PartitionMajority))
}

type fsyncMode string

func (m *fsyncMode) UnmarshalText(text []byte) error {
	return setOneOf(m, text, "everysec", "always", "no")
}

type logLevel string

func (l *logLevel) UnmarshalText(text []byte) error {
	return setOneOf(l, text, "debug", "info", "warn", "error")
}

func (l logLevel) level() slog.Level {
	var v slog.Level
	if err := v.UnmarshalText([]byte(l)); err != nil {
		return slog.LevelInfo
	}
	return v
}

type logFormat string

func (f *logFormat) UnmarshalText(text []byte) error { return setOneOf(f, text, "text", "json") }

// adminURL is where a member answers its operator; host:port will do.
type adminURL string

func (a *adminURL) UnmarshalText(text []byte) error {
	return setBaseURL(a, text, "the admin address of a member, such as http://127.0.0.1:8081")
}

// sessionsURL is where a router or a node answers its clients; host:port will
// do.
type sessionsURL string

func (a *sessionsURL) UnmarshalText(text []byte) error {
	return setBaseURL(a, text, "the public address of a router or a node, such as http://127.0.0.1:8080")
}

// setBaseURL sets *a from text if it is a URL without a path.
func setBaseURL[T ~string](a *T, text []byte, accepted string) error {
	s := string(text)
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Scheme != "http" && u.Scheme != "https" {
		return refuse(text, accepted)
	}
	*a = T(u.Scheme + "://" + u.Host)
	return nil
}
