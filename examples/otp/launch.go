package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/seed-95a32959/holdfast/node"
)

const (
	startTimeout = 30 * time.Second
	startPoll    = 50 * time.Millisecond
)

// launcher holds the servers' processes. Its methods run on one goroutine.
type launcher struct {
	layout
	out   io.Writer
	procs [servers + 1]*process // by number; 0 is not used
	ended chan *process
}

// process is one start of a server. It ends when its standard input does: that
// is a pipe whose other end only the launcher has, so no server outlives it,
// however it ends.
type process struct {
	number int
	cmd    *exec.Cmd
	life   io.Closer // the pipe
}

// launch runs everything until ctx ends.
func launch(ctx context.Context, at layout, in io.Reader, out io.Writer) error {
	l := &launcher{layout: at, out: out, ended: make(chan *process)}
	defer l.stop()
	for number := 1; number <= servers; number++ {
		if err := l.start(number); err != nil {
			return err
		}
	}
	router, err := node.Start(ctx, node.Config{
		Name: "router", Role: node.RoleRouter, Join: at.all(gossipPort), Secret: []byte(rand.Text()),
		// It is for applications: visitors who reached it could write their own
		// session.
		NoAPI: true,
		HTTP:  at.address(0, routerPort), Admin: at.address(0, adminPort), Gossip: at.address(0, gossipPort),
	})
	if err != nil {
		return fmt.Errorf("start the router: %w", err)
	}
	defer router.Shutdown(context.WithoutCancel(ctx))
	if err := l.awaitAll(ctx, router); err != nil {
		return err
	}
	front, err := openFront(at)
	if err != nil {
		return err
	}
	defer front.Close()
	l.welcome()
	return l.watch(ctx, lines(ctx, in))
}

func (l *launcher) start(number int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-base-port", strconv.Itoa(int(l.layout)), "-server", strconv.Itoa(number))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	life, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", serverName(number), err)
	}
	p := &process{number, cmd, life}
	l.procs[number] = p
	go func() { // stop and watch wait for it
		_ = cmd.Wait() // what became of it is in cmd.ProcessState
		l.ended <- p
	}()
	return nil
}

// stop ends the servers at once: their sessions have nowhere to go.
func (l *launcher) stop() {
	for _, p := range l.procs {
		if p != nil {
			p.life.Close()
			_ = p.cmd.Process.Kill() // one that is frozen does not see its input end
		}
	}
	for _, p := range l.procs {
		if p != nil {
			<-l.ended
		}
	}
}

// awaitAll waits until the router sees every server and each says it is ready.
func (l *launcher) awaitAll(ctx context.Context, router *node.Node) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for number := 1; number <= servers; {
		if len(router.View().Nodes()) == servers && isReady(ctx, l.url(number, adminPort)) {
			number++
			continue
		}
		select {
		case p := <-l.ended:
			l.procs[p.number] = nil
			return fmt.Errorf("%s ended while starting (%s); its log above tells why", serverName(p.number), p.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", serverName(number), ctx.Err())
		case <-time.After(startPoll):
		}
	}
	return nil
}

func isReady(ctx context.Context, admin string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (l *launcher) welcome() {
	fmt.Fprintf(l.out, "\n  server   pid      node                    application without Holdfast\n")
	for _, p := range l.procs[1:] {
		fmt.Fprintf(l.out, "  %-8s %-8d %-23s %s\n", serverName(p.number), p.cmd.Process.Pid, l.url(p.number, httpPort), l.url(p.number, plainPort))
	}
	fmt.Fprintf(l.out, "\n  Open  %s/   (router's admin address: %s)\n", l.url(0, httpPort), l.url(0, adminPort))
	fmt.Fprintf(l.out, "  Kill a server with kill -9 PID; Enter starts it again; Ctrl-C ends everything.\n\n")
}

// watch tells of servers that end, and starts them again at each line.
func (l *launcher) watch(ctx context.Context, lines <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-l.ended:
			p.life.Close()
			l.procs[p.number] = nil
			fmt.Fprintf(l.out, "  %s has ended (%s); Enter starts it again\n", serverName(p.number), p.cmd.ProcessState)
		case _, ok := <-lines:
			if !ok {
				lines = nil
				continue
			}
			if err := l.restart(); err != nil {
				return err
			}
		}
	}
}

func (l *launcher) restart() error {
	var errs []error
	for number := 1; number <= servers; number++ {
		if l.procs[number] != nil {
			continue
		}
		if err := l.start(number); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(l.out, "  %s starts with pid %d, its memory empty\n", serverName(number), l.procs[number].cmd.Process.Pid)
	}
	return errors.Join(errs...)
}

// lines tells of each line of the input. A read of a terminal cannot be given
// up, so this goroutine may stay until the process ends.
func lines(ctx context.Context, in io.Reader) <-chan struct{} {
	ticks := make(chan struct{})
	go func() {
		defer close(ticks)
		for scan := bufio.NewScanner(in); scan.Scan(); {
			select {
			case ticks <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ticks
}
