// Command respdiff plays scripts of Redis commands to redis-server and to
// Holdfast, and compares the answers byte for byte with those in the scripts
// and so with each other. Where Holdfast answers otherwise on purpose the
// script gives its answer and the reason; any other difference fails. See
// package internal/exchange for the form of a script. Where both servers are
// given, keys are moved from each to the other too, and must be the same there.
//
//	go run ./test/respdiff -redis redis-server -holdfast bin/holdfast
//	go run ./test/respdiff -redis 127.0.0.1:6379 -holdfast 127.0.0.1:8092
//	go run ./test/respdiff -redis redis-server -write testdata/resp/new.txt
//
// A server is given by its address, or by its program, which is then started
// with ports that are free and stopped at the end. It must be empty, and is
// emptied before and after each script.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-95a32959/holdfast/internal/exchange"
	"github.com/seed-95a32959/holdfast/internal/resp"
)

// options are the command line.
type options struct {
	redis, holdfast string
	write, verbose  bool
	files           []string
}

func main() {
	var o options
	flag.StringVar(&o.redis, "redis", "", "`address` of a redis-server of version 7 without data, or its program")
	flag.StringVar(&o.holdfast, "holdfast", "", "`address` of the Redis endpoint of a node in a cluster without data, or the holdfast program")
	flag.BoolVar(&o.write, "write", false, "write the answers of -redis into the scripts instead of comparing them")
	flag.BoolVar(&o.verbose, "v", false, "list the differences that are explained")
	flag.Parse()
	if o.files = flag.Args(); len(o.files) == 0 {
		o.files, _ = filepath.Glob("testdata/resp/*.txt") // the pattern is well-formed
	}
	if err := o.run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "respdiff:", err)
		os.Exit(1)
	}
}

func (o *options) run(w io.Writer) (err error) {
	if o.redis == "" && o.holdfast == "" || o.write && o.redis == "" || len(o.files) == 0 {
		return errors.New("give -redis, -holdfast or both (with -write: -redis), and scripts or a folder testdata/resp")
	}
	var started servers
	defer func() { err = errors.Join(err, started.stop()) }()
	if o.redis, err = address(o.redis, started.startRedis); err != nil {
		return err
	}
	if o.holdfast, err = address(o.holdfast, started.startHoldfast); err != nil {
		return err
	}
	if o.write {
		return o.eachScript(func(s *exchange.Script) error { return record(s, o.redis) })
	}
	total := tally{}
	err = o.eachScript(func(s *exchange.Script) error { return total.compare(w, s, o) })
	if err != nil {
		return err
	}
	if o.redis != "" && o.holdfast != "" {
		total.compareMoves(w, o)
	}
	fmt.Fprintf(w, "%d exchanges in %d scripts, %d differ from Redis for a reason given, %d moves of keys, %d fail\n", total.answers, len(o.files), total.explained, total.moves, total.failed)
	if total.failed > 0 {
		return errors.New("answers differ")
	}
	return nil
}

// address returns that of a server, which is started if it is a program.
func address(server string, start func(program string) (string, error)) (string, error) {
	if server == "" {
		return "", nil
	}
	if _, _, err := net.SplitHostPort(server); err != nil {
		if server, err = start(server); err != nil {
			return "", err
		}
	}
	return server, mustBeEmpty(server)
}

func (o *options) eachScript(f func(*exchange.Script) error) error {
	for _, file := range o.files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		s, err := exchange.Parse(file, string(text))
		if err != nil {
			return err
		}
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

type tally struct{ answers, explained, moves, failed int }

// compare plays one script to each server.
func (t *tally) compare(w io.Writer, s *exchange.Script, o *options) error {
	answers, explained := s.Counts()
	t.answers += answers
	t.explained += explained
	for _, server := range []struct {
		name, address string
		holdfast      bool
	}{{"redis-server", o.redis, false}, {"holdfast", o.holdfast, true}} {
		if server.address == "" {
			continue
		}
		got, err := play(s, server.address)
		if err != nil {
			return fmt.Errorf("%s: %w", server.name, err)
		}
		for _, d := range s.Compare(got, server.holdfast) {
			t.failed++
			fmt.Fprintf(w, "%s: %s, %s\n", s.Name, server.name, d)
		}
	}
	for _, step := range s.Steps {
		if o.verbose && step.Why != "" {
			fmt.Fprintf(w, "%s:%d: %s: %s\n", s.Name, step.Line, step.Text, step.Why)
		}
	}
	return nil
}

// record writes Redis's answers into the script's file.
func record(s *exchange.Script, redis string) error {
	got, err := play(s, redis)
	if err != nil {
		return err
	}
	s.Record(got)
	return os.WriteFile(s.Name, []byte(s.String()), 0o644)
}

func play(s *exchange.Script, address string) ([]string, error) {
	if _, err := ask(address, "FLUSHALL"); err != nil {
		return nil, err
	}
	answers, err := s.Play(func() (net.Conn, error) { return net.DialTimeout("tcp", address, 5*time.Second) })
	_, flushed := ask(address, "FLUSHALL") // so that the next run finds it empty
	return answers, errors.Join(err, flushed)
}

// mustBeEmpty keeps somebody's data from being flushed by a mistaken address.
func mustBeEmpty(address string) error {
	n, err := ask(address, "DBSIZE")
	if err != nil {
		return err
	}
	if n.Kind != resp.Int || n.Int != 0 {
		return fmt.Errorf("%s: DBSIZE says %s: an empty server is needed, for it will be flushed", address, strings.TrimSpace(string(n.Append(nil))))
	}
	return nil
}

func ask(address string, args ...string) (resp.Value, error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return resp.Value{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return resp.Value{}, err
	}
	if _, err := c.Write(resp.AppendCommand(nil, args...)); err != nil {
		return resp.Value{}, err
	}
	return resp.NewReplyReader(bufio.NewReader(c), resp.ReplyLimits{}).Read()
}
