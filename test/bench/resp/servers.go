package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// side is a server, of one process or more.
type side struct {
	processes []*exec.Cmd
	port      int    // of the Redis protocol, at the first process
	admin     string // of the first node; "" of redis-server
	empty     int64  // bytes held without a key
}

const (
	startTimeout = 30 * time.Second
	askTimeout   = 10 * time.Second
)

// starter starts processes and ends them.
type starter struct {
	ctx   context.Context
	dir   string // for their output
	port  int    // the next that is free
	sides []*side
}

func (s *starter) redis(program string, more ...string) (*side, error) {
	side := &side{port: s.port}
	s.sides, s.port = append(s.sides, side), s.port+1
	args := []string{"--port", strconv.Itoa(side.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
	err := s.run(side, program, append(args, more...)...)
	if err != nil {
		return nil, err
	}
	return side, s.ready(side, func() error { return side.weigh(s.ctx) })
}

// nodes starts a cluster of holdfast: one node, or three with two copies.
func (s *starter) nodes(program string, n int, more ...string) (*side, error) {
	first := s.port
	side := &side{port: first, admin: local(first + 1)}
	s.sides, s.port = append(s.sides, side), s.port+5*n
	for i := range n {
		args := []string{
			"node", "-name", fmt.Sprint("bench-", i+1), "-cluster", fmt.Sprint("bench-of-", n), "-copies", strconv.Itoa(min(n, 2)), "-log-level", "warn",
		}
		for j, flag := range []string{"-resp", "-admin", "-http", "-peer", "-gossip"} {
			args = append(args, flag, local(first+5*i+j))
		}
		if i > 0 {
			args = append(args, "-join", local(first+4))
		}
		if err := s.run(side, program, append(args, more...)...); err != nil {
			return nil, err
		}
	}
	return side, s.ready(side, func() error {
		for i := range n {
			if err := complete(s.ctx, local(first+5*i+1), n); err != nil {
				return err
			}
		}
		return side.weigh(s.ctx)
	})
}

// complete says whether a node is ready and sees all n.
func complete(ctx context.Context, admin string, n int) error {
	if _, err := get(ctx, "http://"+admin+"/readyz"); err != nil {
		return err
	}
	ring, err := get(ctx, "http://"+admin+"/admin/ring")
	if err != nil {
		return err
	}
	for i := range n {
		if !strings.Contains(ring, fmt.Sprintf(`"bench-%d"`, i+1)) {
			return fmt.Errorf("bench-%d is not on the ring of %s yet", i+1, admin)
		}
	}
	return nil
}

func (s *starter) run(side *side, program string, args ...string) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	log, err := os.CreateTemp(s.dir, "log")
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	side.processes = append(side.processes, cmd)
	return nil
}

// ready waits until a side can be measured.
func (s *starter) ready(side *side, ok func() error) error {
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(100 * time.Millisecond) {
		err := ok()
		if err == nil || s.ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *starter) stop() error {
	var errs []error
	for _, side := range s.sides {
		for _, p := range side.processes {
			errs = append(errs, p.Process.Kill())
			_ = p.Wait() // it was killed, and says so
		}
	}
	return errors.Join(errs...)
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (s *side) weigh(ctx context.Context) (err error) {
	_, s.empty, err = s.held(ctx)
	return err
}

// held returns how many keys the first process holds, and in how many bytes.
func (s *side) held(ctx context.Context) (keys, bytes int64, err error) {
	info, err := s.info()
	if err != nil {
		return 0, 0, err
	}
	if _, db, ok := strings.Cut(info, "db0:keys="); ok {
		if keys, err = strconv.ParseInt(db[:strings.IndexByte(db, ',')], 10, 64); err != nil {
			return 0, 0, err
		}
	}
	if s.admin == "" {
		bytes, err = number(info, "used_memory:")
		return keys, bytes, err
	}
	// gc=1 collects before it looks, and debug=1 ends with the
	// runtime's figures.
	heap, err := get(ctx, "http://"+s.admin+"/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return 0, 0, err
	}
	bytes, err = number(heap, "# HeapAlloc = ")
	return keys, bytes, err
}

// resident is how much memory the first process has.
func (s *side) resident() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.processes[0].Process.Pid))
	if err != nil {
		return 0, err
	}
	kb, err := number(string(b), "VmRSS:")
	return kb << 10, err
}

// number reads the number behind a name.
func number(text, name string) (int64, error) {
	_, rest, ok := strings.Cut(text, name)
	digits := strings.TrimLeft(rest, " \t")
	end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
	if !ok || end < 1 {
		return 0, fmt.Errorf("no number behind %q", name)
	}
	return strconv.ParseInt(digits[:end], 10, 64)
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return string(body), err
}

// info asks the first process for INFO.
func (s *side) info() (string, error) {
	conn, err := net.DialTimeout("tcp", local(s.port), askTimeout)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "INFO\r\n"); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	head, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.Trim(head, "$\r\n"))
	if err != nil {
		return "", fmt.Errorf("INFO was answered %q", head)
	}
	body := make([]byte, n)
	_, err = io.ReadFull(in, body)
	return string(body), err
}
