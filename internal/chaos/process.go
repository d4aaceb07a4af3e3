package main

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// nursery starts processes that cannot outlive this one: Linux kills a child
// when the thread that forked it ends, so all are forked by one goroutine that
// keeps its thread for as long as the nursery is open.
type nursery struct {
	births chan birth
	done   chan struct{} // closed when the thread has been given up
	mu     sync.Mutex    // guards living
	living map[*process]struct{}
}

type birth struct {
	cmd    *exec.Cmd
	result chan error
}

func newNursery() *nursery {
	n := &nursery{births: make(chan birth), done: make(chan struct{}), living: make(map[*process]struct{})}
	go func() {
		defer close(n.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for b := range n.births {
			b.result <- b.cmd.Start()
		}
	}()
	return n
}

// process is a child.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
	code int           // its exit code, -1 for a signal; valid when gone is closed
	log  *os.File
}

// start starts args, writing all it prints to the file log, which is appended to.
func (n *nursery) start(args []string, env []string, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = f, f, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	b := birth{cmd, make(chan error, 1)}
	n.births <- b
	if err := <-b.result; err != nil {
		f.Close()
		return nil, err
	}
	p := &process{cmd: cmd, gone: make(chan struct{}), log: f}
	n.mu.Lock()
	n.living[p] = struct{}{}
	n.mu.Unlock()
	go func() {
		_ = cmd.Wait() // its end is told by the exit code
		p.code = cmd.ProcessState.ExitCode()
		f.Close()
		n.mu.Lock()
		delete(n.living, p)
		n.mu.Unlock()
		close(p.gone)
	}()
	return p, nil
}

// close kills every process that still lives and waits for its end.
func (n *nursery) close() {
	n.mu.Lock()
	var living []*process
	for p := range n.living {
		living = append(living, p)
	}
	n.mu.Unlock()
	for _, p := range living {
		p.kill()
	}
	for _, p := range living {
		<-p.gone
	}
	close(n.births)
	<-n.done
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends the process at once, frozen or not.
func (p *process) kill() { _ = p.cmd.Process.Kill() } // fails only when it has ended

func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

var errNotRunning = errors.New("it does not run")
