// Command respdiff plays scripts of Redis commands to redis-server and to
// Holdfast, and compares the answers byte for byte with those in the scripts
// and so with each other. Where Holdfast answers otherwise on purpose the script
// gives its answer and the reason; any other difference fails. See package
// internal/exchange for the form of a script.
//
//	go run ./internal/respdiff -redis 127.0.0.1:6379 -holdfast 127.0.0.1:8092
//	go run ./internal/respdiff -redis 127.0.0.1:6379 -write testdata/resp/new.txt
//
// Both servers must be empty, and are emptied before each script.
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
	"github.com/seed-95a32959/holdfast/resp"
)

func main() {
	redis := flag.String("redis", "", "`address` of a redis-server of version 7 without data")
	holdfast := flag.String("holdfast", "", "`address` of a Holdfast node's RESP door, in a cluster without data")
	write := flag.Bool("write", false, "write the answers of -redis into the scripts instead of comparing them")
	verbose := flag.Bool("v", false, "list the differences that are explained")
	flag.Parse()
	files := flag.Args()
	if len(files) == 0 {
		files, _ = filepath.Glob("testdata/resp/*.txt") // the pattern is well-formed
	}
	if err := run(os.Stdout, *redis, *holdfast, *write, *verbose, files); err != nil {
		fmt.Fprintln(os.Stderr, "respdiff:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, redis, holdfast string, write, verbose bool, files []string) error {
	if redis == "" && holdfast == "" || write && redis == "" || len(files) == 0 {
		return errors.New("give -redis, -holdfast or both (with -write: -redis), and scripts or a folder testdata/resp")
	}
	for _, address := range []string{redis, holdfast} {
		if address != "" {
			if err := mustBeEmpty(address); err != nil {
				return err
			}
		}
	}
	total := tally{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		s, err := exchange.Parse(file, string(text))
		if err != nil {
			return err
		}
		if write {
			err = record(s, redis)
		} else {
			err = total.compare(w, s, redis, holdfast, verbose)
		}
		if err != nil {
			return err
		}
	}
	if write {
		return nil
	}
	fmt.Fprintf(w, "%d exchanges in %d scripts, %d differ from Redis for a reason given, %d fail\n", total.answers, len(files), total.explained, total.failed)
	if total.failed > 0 {
		return errors.New("answers differ")
	}
	return nil
}

type tally struct{ answers, explained, failed int }

// compare plays one script to each server.
func (t *tally) compare(w io.Writer, s *exchange.Script, redis, holdfast string, verbose bool) error {
	answers, explained := s.Counts()
	t.answers += answers
	t.explained += explained
	for _, server := range []struct {
		name, address string
		holdfast      bool
	}{{"redis-server", redis, false}, {"holdfast", holdfast, true}} {
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
		if verbose && step.Why != "" {
			fmt.Fprintf(w, "%s:%d: %s: %s\n", s.Name, step.Line, step.Text, step.Why)
		}
	}
	return nil
}

// record writes Redis's answers into the script. What Holdfast answers
// otherwise stays.
func record(s *exchange.Script, redis string) error {
	got, err := play(s, redis)
	if err != nil {
		return err
	}
	for _, step := range s.Steps {
		if step.Answered() {
			step.Redis, got = got[0], got[1:]
		}
	}
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
