package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"

	"github.com/seed-95a32959/holdfast/internal/exchange"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

// A script holds each server to answers that are known. That one reads what the
// other has written is seen only with both: each sample is made at one, goes to
// the other as a payload of DUMP, and must read the same there.

// sample is a key, the commands that make it, and the one that reads all of it.
type sample struct {
	key  string
	make [][]string
	read []string
}

// moved are the samples in every form that a server of Redis 7 keeps values in:
// small and packed, numbers of each width, compressed, and large.
func moved() (all []sample) {
	random := rand.New(rand.NewPCG(1, 2))
	add := func(key, read string, args ...string) {
		s := sample{key: key, read: append(strings.Fields(read), key)}
		const most = 1000 // arguments of one command
		for rest := args[1:]; len(rest) > 0; rest = rest[min(most, len(rest)):] {
			s.make = append(s.make, append([]string{args[0], key}, rest[:min(most, len(rest))]...))
		}
		if args[0] == "ZADD" {
			s.read = append(s.read, "0", "-1", "WITHSCORES")
		}
		all = append(all, s)
	}
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	texts := map[string]string{
		"empty": "", "text": "some text", "noise": string(noise), "repeated": strings.Repeat("0123456789", 5000),
		"n8": "-128", "n16": "32767", "n32": "-2147483648", "n64": "9223372036854775807", "nearly a number": "007",
	}
	for name, text := range texts {
		add("string "+name, "GET", "SET", text)
	}
	for _, n := range []int{1, 10, 600, 20_000} {
		var fields, members, numbers, scores []string
		for i := range n {
			name := fmt.Sprint("name", i)
			value := strconv.FormatInt(int64(random.Uint64())>>(i%64), 10)
			members, fields = append(members, name), append(fields, name, value)
			numbers = append(numbers, value)
			scores = append(scores, strconv.FormatFloat(random.NormFloat64()*100, 'g', -1, 64), name)
		}
		add(fmt.Sprint("hash of ", n), "HGETALL", append([]string{"HSET"}, fields...)...)
		add(fmt.Sprint("set of ", n), "SMEMBERS", append([]string{"SADD"}, members...)...)
		add(fmt.Sprint("numbers of ", n), "SMEMBERS", append([]string{"SADD"}, numbers...)...)
		add(fmt.Sprint("sorted set of ", n), "ZRANGE", append([]string{"ZADD"}, scores...)...)
	}
	add("hash of large values", "HGETALL", "HSET", "", strings.Repeat("x", 5000), string(noise[:300]), string(noise[300:600]))
	add("numbers of 16 bits", "SMEMBERS", "SADD", "-32768", "0", "32767")
	add("numbers of 32 bits", "SMEMBERS", "SADD", "-32769", "0", "2147483647")
	add("sorted set without an end", "ZRANGE", "ZADD", "-inf", "a", "inf", "b", "1e300", "c", "1e-300", "d", "0", string(noise[:80]))
	return all
}

// compareMoves moves the samples from each server to the other, and from
// redis-server to Holdfast by its MIGRATE too.
func (t *tally) compareMoves(w io.Writer, o *options) {
	samples := moved()
	for _, way := range []struct {
		name, from, to string
		move           func(s sample, from, to string) error
	}{
		{"DUMP of redis-server, RESTORE of holdfast", o.redis, o.holdfast, restore},
		{"DUMP of holdfast, RESTORE of redis-server", o.holdfast, o.redis, restore},
		{"DUMP and RESTORE of holdfast", o.holdfast, o.holdfast, restore},
		{"MIGRATE of redis-server to holdfast", o.redis, o.holdfast, migrate},
	} {
		for _, s := range samples {
			t.moves++
			if err := compareMove(s, way.from, way.to, way.move); err != nil {
				t.failed++
				fmt.Fprintf(w, "%s: %s: %v\n", way.name, s.key, err)
			}
		}
	}
}

// ends is the time that samples have to live, ms, and slack what a move may
// take of it.
const ends, slack = 3_600_000, 60_000

func compareMove(s sample, from, to string, move func(s sample, from, to string) error) error {
	for _, server := range []string{from, to} {
		if _, err := ask(server, "FLUSHALL"); err != nil {
			return err
		}
	}
	for _, args := range append(s.make, []string{"PEXPIRE", s.key, fmt.Sprint(ends)}) {
		if _, err := askWell(from, args...); err != nil {
			return err
		}
	}
	want, err := askWell(from, s.read...)
	if err != nil {
		return err
	}
	if err := move(s, from, to); err != nil {
		return err
	}
	got, err := askWell(to, s.read...)
	if err != nil {
		return err
	}
	order := exchange.Free
	if s.read[0] == "ZRANGE" {
		order = exchange.Exact
	}
	if s.read[0] == "HGETALL" {
		want, got = asMap(want), asMap(got)
	}
	a, b := string(want.Append(nil)), string(got.Append(nil))
	if !(&exchange.Step{Order: order}).Same(a, b) {
		return fmt.Errorf("it was %.200q, and is %.200q", a, b)
	}
	left, err := askWell(to, "PTTL", s.key)
	if err == nil && (left.Int > ends || left.Int < ends-slack) {
		err = fmt.Errorf("it ends in %d ms, after it was to end in %d", left.Int, ends)
	}
	return err
}

// restore moves a sample as programs do that copy keys. A server that sends
// payloads to itself has the key already.
func restore(s sample, from, to string) error {
	payload, err := askWell(from, "DUMP", s.key)
	if err != nil {
		return err
	}
	left, err := askWell(from, "PTTL", s.key)
	if err != nil {
		return err
	}
	_, err = askWell(to, "RESTORE", s.key, fmt.Sprint(left.Int), payload.Text, "REPLACE")
	return err
}

// migrate has the server move it.
func migrate(s sample, from, to string) error {
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return err
	}
	if _, err := askWell(from, "MIGRATE", host, port, s.key, "0", "10000"); err != nil {
		return err
	}
	there, err := askWell(from, "EXISTS", s.key)
	if err == nil && there.Int != 0 {
		err = errors.New("it is still where it was")
	}
	return err
}

// asMap is an array of names and values as a map, whose pairs stay together
// where their order does not count.
func asMap(v resp.Value) resp.Value {
	v.Kind = resp.Map
	return v
}

// askWell is ask for an answer that is no error.
func askWell(address string, args ...string) (resp.Value, error) {
	v, err := ask(address, args...)
	if err == nil && v.IsError() {
		err = fmt.Errorf("%s: %s", args[0], v.Text)
	}
	return v, err
}
