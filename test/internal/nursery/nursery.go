// Package nursery is what programs that test holdfast from outside have in
// common: their flags and exit codes, the command lines of the members that
// they start, and processes that cannot outlive this one, where the system can
// see to that.
package nursery

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
)

// Nursery starts processes that cannot outlive this one: Linux kills a child
// when the thread that forked it ends, so all are forked by one goroutine that
// keeps its thread for as long as the nursery is open. Other systems cannot do
// that: there, a process that is killed leaves its children behind.
type Nursery struct {
	births chan birth
	done   chan struct{} // closed when the thread has been given up
	mu     sync.Mutex    // guards living
	living map[*Process]struct{}
}

type birth struct {
	cmd    *exec.Cmd
	result chan error
}

// New opens a nursery. Close ends it and all that it has started.
func New() *Nursery {
	n := &Nursery{births: make(chan birth), done: make(chan struct{}), living: make(map[*Process]struct{})}
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

// Process is a child.
type Process struct {
	cmd  *exec.Cmd
	gone chan struct{}
	code int // valid when gone is closed
	log  *os.File
}

// Start starts args, writing all it prints to the file log, which is appended
// to.
func (n *Nursery) Start(args []string, env []string, log string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = f, f, env
	cmd.SysProcAttr = bound()
	b := birth{cmd, make(chan error, 1)}
	n.births <- b
	if err := <-b.result; err != nil {
		f.Close()
		return nil, err
	}
	p := &Process{cmd: cmd, gone: make(chan struct{}), log: f}
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

// Close kills every process that still lives and waits for its end.
func (n *Nursery) Close() {
	n.mu.Lock()
	var living []*Process
	for p := range n.living {
		living = append(living, p)
	}
	n.mu.Unlock()
	for _, p := range living {
		p.Kill()
	}
	for _, p := range living {
		<-p.gone
	}
	close(n.births)
	<-n.done
}

// Pid is the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process at once, frozen or not.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() } // fails only when it has ended

// Gone is closed when the process has ended.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Code is the exit code of a process that has ended, -1 for a signal.
func (p *Process) Code() int { return p.code }

// Ended says whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}
