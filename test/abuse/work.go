package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
	"github.com/seed-95a32959/holdfast/test/internal/nursery"
	"github.com/seed-95a32959/holdfast/test/internal/operator"
)

// Sizes of what costs much where cost grows with the square.
const (
	manyFields  = 70_000 // a session of 770 kB
	someFields  = 20_000
	hashFields  = 100_000
	longPattern = 1_000_000
)

// flat is a JSON object of n fields with one value.
func flat(n int, value string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"f%05d":%s`, i, value)
	}
	b.WriteByte('}')
	return b.String()
}

// names is a list of n names.
func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return list
}

// pairs puts a value between the names of a list: before each, or after each.
func pairs(list []string, value string, before bool) []string {
	var out []string
	for _, name := range list {
		if before {
			out = append(out, value, name)
		} else {
			out = append(out, name, value)
		}
	}
	return out
}

// largest stores the largest session of a few sizes that the cluster takes:
// that there is a limit is no fault. It returns the number of its fields.
func largest(s *stage, key string, sizes ...int) (int, error) {
	last := "none tried"
	for _, n := range sizes {
		l, err := dial(attacker, s.router().Address(nursery.HTTPPort))
		if err != nil {
			return 0, err
		}
		a, err := l.ask(request{"PUT", "/v1/sessions/" + key, []string{asJSON}, flat(n, "0")}, 10*time.Second)
		l.Close()
		switch {
		case err != nil:
			return 0, fmt.Errorf("store a session of %d fields: %w", n, err)
		case a.status/100 == 2:
			return n, nil
		case a.status/100 == 4:
			last = fmt.Sprintf("%d fields: %d", n, a.status)
		default:
			return 0, fmt.Errorf("store a session of %d fields: %d: %.200s", n, a.status, a.body)
		}
	}
	return 0, fmt.Errorf("no session of many fields is taken: %s", last)
}

// fill adds fields or members to a key by a command, a thousand at a time,
// until there are n or the node refuses more. It returns how many there are.
func fill(address string, n int, args func(part []string) []string) (int, error) {
	const step = 1000
	l, err := dial(attacker, address)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	all := names("f", n)
	for i := 0; i < n; i += step {
		v, err := l.command(10*time.Second, args(all[i:min(n, i+step)])...)
		if err != nil {
			return i, err
		}
		if v.IsError() {
			if i == 0 {
				return 0, errors.New(v.Text)
			}
			return i, nil
		}
	}
	return n, nil
}

// The keys of the work attack. The braces keep them in one partition.
const (
	workMany = "%7Bwork%7D:many"
	workSome = "%7Bwork%7D:some"
	workHash = "{work}:hash"
	workSet  = "{work}:set"
	workZset = "{work}:zset"
)

// prepareWork stores what the expensive requests are about: large sessions,
// and two thousand with long names.
func prepareWork(_ context.Context, s *stage) error {
	for key, sizes := range map[string][]int{workMany: {manyFields, someFields, 10_000, 4000, 1000}, workSome: {someFields, 10_000, 4000, 1000}} {
		n, err := largest(s, key, sizes...)
		if err != nil {
			return err
		}
		if n < sizes[0] {
			s.saw("only %d fields are stored in %s", n, key)
		}
	}
	node := s.nodes()[0].Address(nursery.RESPPort)
	for _, f := range []struct {
		what string
		n    int
		args func([]string) []string
	}{
		{"fields of a hash", hashFields, func(part []string) []string { return append([]string{"HSET", workHash}, pairs(part, "v", false)...) }},
		{"members of a set", 10_000, func(part []string) []string { return append([]string{"SADD", workSet}, part...) }},
		{"members of a sorted set", 10_000, func(part []string) []string { return append([]string{"ZADD", workZset}, pairs(part, "1", true)...) }},
	} {
		n, err := fill(node, f.n, f.args)
		if err != nil {
			return fmt.Errorf("store %d %s: %w", f.n, f.what, err)
		}
		if n < f.n {
			s.saw("only %d %s are stored", n, f.what)
		}
	}
	l, err := dial(attacker, node)
	if err != nil {
		return err
	}
	defer l.Close()
	long := strings.Repeat("a", 490)
	for i := range 2000 {
		if err := refused(l.command(10*time.Second, "SET", fmt.Sprintf("%s%d", long, i), "v")); err != nil {
			return fmt.Errorf("store a session with a long name: %w", err)
		}
	}
	return nil
}

// costly is a request that costs much where something is wrong.
type costly struct {
	name  string
	web   bool // over HTTP
	bytes []byte
}

func overWeb(name, method, key, body string) costly {
	return costly{name, true, request{method, "/v1/sessions/" + key, []string{asJSON}, body}.encode("127.0.0.1")}
}

func command(name string, args ...string) costly {
	return costly{name, false, resp.AppendCommand(nil, args...)}
}

func commands(name string, list ...[]string) costly {
	c := costly{name: name}
	for _, args := range list {
		c.bytes = resp.AppendCommand(c.bytes, args...)
	}
	return c
}

// repeated is a command many times over.
func repeated(n int, args ...string) [][]string { return slices.Repeat([][]string{args}, n) }

// costlies are the requests of the work attack.
func costlies() []costly {
	pattern := strings.Repeat("*a", longPattern/2) + "b"
	deep := strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)
	fields, absent := names("f", 100_000), names("q", someFields)
	queue := func(list [][]string) [][]string {
		return append(append([][]string{{"MULTI"}}, list...), []string{"EXEC"})
	}
	return []costly{
		overWeb("PATCH of 20,000 fields", "PATCH", workSome, flat(someFields, "1")),
		overWeb("PATCH of 70,000 fields", "PATCH", workMany, flat(manyFields, "1")),
		overWeb("PATCH that removes 70,000 fields", "PATCH", workMany, flat(manyFields, "null")),
		overWeb("PATCH 9,000 deep", "PATCH", workSome, `{"deep":`+deep+"}"),
		overWeb("PATCH of 20,000 nested fields", "PATCH", workSome, `{"wide":`+flat(someFields, `{"a":1}`)+"}"),
		command("HDEL of 8,000 absent", append([]string{"HDEL", workHash}, absent[:8000]...)...),
		command("HMGET of 20,000", append([]string{"HMGET", workHash}, fields[:someFields]...)...),
		command("HMGET of the last field 20,000 times", append([]string{"HMGET", workHash}, slices.Repeat([]string{"f99999"}, someFields)...)...),
		commands("MULTI of 300 HSET", queue(repeated(300, "HSET", workHash, "f1", "y"))...),
		commands("MULTI of 300 HINCRBY", queue(repeated(300, "HINCRBY", workHash, "count", "1"))...),
		commands("300 HSET in one write", repeated(300, "HSET", workHash, "f1", "y")...),
		command("HSET of 20,000", append([]string{"HSET", workHash}, pairs(fields[:someFields], "w", false)...)...),
		command("HSCAN with a pattern of 1 MB", "HSCAN", workHash, "0", "MATCH", pattern, "COUNT", "100000"),
		command("KEYS with a pattern of 1 MB", "KEYS", pattern),
		command("SCAN with a pattern of 1 MB", "SCAN", "0", "MATCH", pattern, "COUNT", "10000"),
		commands("PSUBSCRIBE with a pattern of 1 MB", []string{"HELLO", "3"}, []string{"PSUBSCRIBE", pattern}, []string{"PUBLISH", strings.Repeat("a", 5000), "x"}),
		command("ZADD of 10,000", append([]string{"ZADD", workZset}, pairs(fields[:10_000], "2", true)...)...),
		commands("300 ZADD in one write", repeated(300, "ZADD", workZset, "3", "f1")...),
		commands("300 ZRANK in one write", repeated(300, "ZRANK", workZset, "f5000")...),
		command("SADD of 10,000", append([]string{"SADD", workSet}, fields[:10_000]...)...),
		command("SMISMEMBER of 10,000", append([]string{"SMISMEMBER", workSet}, fields[:10_000]...)...),
		command("SREM of 20,000 absent", append([]string{"SREM", workSet}, absent...)...),
		command("EXISTS of one key 20,000 times", append([]string{"EXISTS"}, slices.Repeat([]string{workHash}, someFields)...)...),
	}
}

// runWork sends one expensive request after another, each from a client that
// leaves a moment later. One client at a time cannot take more than one core.
func runWork(ctx context.Context, s *stage) error {
	list := costlies()
	var spent bill
	defer func() {
		for _, line := range spent.top(3) {
			s.saw("%s", line)
		}
	}()
	for i := 0; ctx.Err() == nil; i++ {
		c := list[i%len(list)]
		m := s.nodes()[i%nodes]
		at := m.Address(nursery.RESPPort)
		if c.web {
			at = m.Address(nursery.HTTPPort)
			if i%2 == 0 {
				at = s.router().Address(nursery.HTTPPort)
			}
		}
		before := s.cpu()
		s.visit(c.name, at, c.bytes, leaveAfter)
		spent.add(c.name, s.cpu()-before)
	}
	return nil
}

// bill is the CPU time that the nodes took while a client waited for an answer
// to each kind of request. What an earlier client has left behind is in it, so
// it is a hint and nothing is held against it.
type bill map[string][]time.Duration

func (b *bill) add(name string, d time.Duration) {
	if *b == nil {
		*b = make(bill)
	}
	(*b)[name] = append((*b)[name], d)
}

// top tells the kinds that took most at their dearest.
func (b bill) top(most int) (lines []string) {
	kinds := slices.SortedFunc(maps.Keys(b), func(x, y string) int {
		return cmp.Or(cmp.Compare(slices.Max(b[y]), slices.Max(b[x])), cmp.Compare(x, y))
	})
	for _, name := range kinds[:min(most, len(kinds))] {
		lines = append(lines, fmt.Sprintf("%v of CPU time during a %s", slices.Max(b[name]), name))
	}
	return lines
}

const rejoinKey = "%7Brejoin%7D:many"

// prepareRejoin kills the owner of a key, and stores a large session and hash
// with its successor.
func prepareRejoin(ctx context.Context, s *stage) error {
	ring, err := s.router().admin.Ring(ctx)
	if err != nil {
		return err
	}
	dead := s.named(operator.OwnerOf(ring, "{rejoin}:many"))
	if dead == nil {
		return errors.New("the ring has no owner")
	}
	if err := s.kill(dead); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	s.dead = dead
	if _, err = largest(s, rejoinKey, manyFields, someFields, 10_000, 4000, 1000); err != nil {
		return err
	}
	_, err = fill(s.other(dead).Address(nursery.RESPPort), hashFields, func(part []string) []string {
		return append([]string{"HSET", "{rejoin}:hash"}, pairs(part, "v", false)...)
	})
	return err
}

// other is a node that is not m.
func (s *stage) other(m *member) *member {
	if n := s.nodes()[0]; n != m {
		return n
	}
	return s.nodes()[1]
}

// runRejoin has the killed node come back while slow operations are under way.
func runRejoin(ctx context.Context, s *stage) error {
	body := flat(manyFields, "1")
	patch := overWeb("PATCH of 70,000 fields", "PATCH", rejoinKey, body)
	hdel := command("HDEL of 8,000 absent", append([]string{"HDEL", "{rejoin}:hash"}, names("q", 8000)...)...)
	slow := func() {
		each([]func(){
			func() { s.visit(patch.name, s.router().Address(nursery.HTTPPort), patch.bytes, leaveAfter) },
			func() { s.visit(hdel.name, s.other(s.dead).Address(nursery.RESPPort), hdel.bytes, leaveAfter) },
		}, func(f func()) { f() })
	}
	slow()
	if err := s.start(s.dead); err != nil {
		return err
	}
	begun := time.Now()
	s.group.Go(func() {
		for ctx.Err() == nil {
			slow()
			nursery.Sleep(ctx, leaveAfter)
		}
	})
	// The node's return is waited for longer than the attack lasts: it is part
	// of what has to work.
	if err := s.settle(context.WithoutCancel(ctx)); err != nil {
		s.fault("the node has not come back in %v: %v", settleTimeout, err)
		return nil
	}
	s.saw("the node was back after %v", time.Since(begun).Round(100*time.Millisecond))
	<-ctx.Done()
	return nil
}

const floods = 12

// prepareFlood stores twelve large sessions.
func prepareFlood(_ context.Context, s *stage) error {
	for i := range floods {
		if _, err := largest(s, fmt.Sprintf("flood-%d", i), manyFields, someFields, 10_000, 4000, 1000); err != nil {
			return err
		}
	}
	return nil
}

// runFlood has each of them patched at once, by clients that leave.
func runFlood(_ context.Context, s *stage) error {
	body := flat(manyFields, "1")
	each(names("flood-", floods), func(key string) {
		c := overWeb(http.MethodPatch, http.MethodPatch, key, body)
		s.visit(c.name, s.router().Address(nursery.HTTPPort), c.bytes, leaveAfter)
	})
	return nil
}
