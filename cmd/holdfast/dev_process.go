package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// family starts children of this executable that end when this process does,
// however it ends: on Linux the kernel kills them, and everywhere they hold one
// end of a pipe whose other end is only ours and exit when it closes.
//
// start must be called by one goroutine, locked to its thread, for the life of
// the process: the kernel counts the end of the thread that forked.
type family struct {
	executable string
	env        []string // for the children, beside this process's own
	childEnd   *os.File // inherited by each child
	ourEnd     *os.File // open as long as we live
	ended      chan ended
	waiters    sync.WaitGroup
	processes  map[*process]struct{} // those that run, as start and stop know
}

// process is a child that was started.
type process struct {
	pid  int
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

// ended tells of the end of a process: its exit code, or -1 for a signal.
type ended struct {
	process *process
	code    int
	reason  string // "exit status 1", "signal: killed"
}

// newFamily makes room for so many children at a time, which get env besides
// this process's environment.
func newFamily(most int, env []string) (*family, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own executable: %w", err)
	}
	childEnd, ourEnd, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &family{
		executable: executable, env: env, childEnd: childEnd, ourEnd: ourEnd,
		ended:     make(chan ended, most), // so that no waiter stays when nobody listens any more
		processes: map[*process]struct{}{},
	}, nil
}

// start starts a child whose output, line by line, goes to out.
func (f *family) start(name string, args []string, out io.Writer) (*process, error) {
	for p := range f.processes { // forget those that have ended
		if p.hasEnded() {
			delete(f.processes, p)
		}
	}
	cmd := exec.Command(f.executable, args...)
	cmd.Stdout, cmd.Stderr = out, out // one writer, so exec writes to it from one goroutine
	cmd.Env = append(childEnv(os.Environ()), f.env...)
	cmd.ExtraFiles = []*os.File{f.childEnd} // the first one is descriptor 3
	cmd.SysProcAttr = childAttributes()
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{pid: cmd.Process.Pid, cmd: cmd, gone: make(chan struct{})}
	f.processes[p] = struct{}{}
	f.waiters.Go(func() {
		err := cmd.Wait()
		close(p.gone)
		f.ended <- ended{process: p, code: cmd.ProcessState.ExitCode(), reason: endReason(cmd.ProcessState, err)}
	})
	return p, nil
}

// endReason prefers what the process did to how reading its output went.
func endReason(state *os.ProcessState, err error) string {
	if state == nil {
		return err.Error()
	}
	return state.String()
}

// childEnv gives a child the environment without the HOLDFAST_ variables, which
// are meant for this process, and with the number of the inherited pipe.
func childEnv(environ []string) []string {
	var env []string
	for _, v := range environ {
		if !strings.HasPrefix(v, "HOLDFAST_") {
			env = append(env, v)
		}
	}
	return append(env, parentEnv+"=3")
}

// stop kills all children that still run, waits for them, and returns how many
// there were. No more can be started.
func (f *family) stop() (killed int) {
	for p := range f.processes {
		if !p.hasEnded() && p.kill() == nil {
			killed++
		}
	}
	f.ourEnd.Close()
	f.childEnd.Close()
	f.waiters.Wait()
	return killed
}

func (p *process) hasEnded() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

func (p *process) kill() error   { return p.signal(os.Kill) }
func (p *process) drain() error  { return p.signal(syscall.SIGTERM) }
func (p *process) pause() error  { return p.signal(pauseSignal) }
func (p *process) resume() error { return p.signal(resumeSignal) }

func (p *process) signal(s os.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return errors.New("it has just ended")
	}
	return err
}
