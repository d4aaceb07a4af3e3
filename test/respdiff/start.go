package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/seed-95a32959/holdfast/internal/resp"
)

// servers are those that this program has started.
type servers struct {
	processes []*exec.Cmd
	dir       string // theirs, thrown away with them
}

// startRedis runs a redis-server that keeps nothing, and returns its address.
func (s *servers) startRedis(binary string) (string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return "", err
	}
	return ports[0], s.start(ports[0], binary, "--port", portOf(ports[0]), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
}

// startHoldfast runs one node, and returns the address of its RESP door.
func (s *servers) startHoldfast(binary string) (string, error) {
	ports, err := freePorts(5)
	if err != nil {
		return "", err
	}
	args := []string{"node", "-name", "respdiff", "-copies", "1", "-resp-allow-flush"}
	for i, flag := range []string{"-resp", "-http", "-admin", "-peer", "-gossip"} {
		args = append(args, flag, ports[i])
	}
	return ports[0], s.start(ports[0], binary, args...)
}

// start runs a server and waits until it answers.
func (s *servers) start(address, binary string, args ...string) error {
	if s.dir == "" {
		var err error
		if s.dir, err = os.MkdirTemp("", "respdiff"); err != nil {
			return err
		}
	}
	path, err := exec.LookPath(binary)
	if err != nil {
		return err
	}
	log, err := os.CreateTemp(s.dir, "log")
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if v, err := ask(address, "PING"); err == nil && v.Kind == resp.Simple {
			return nil
		}
	}
	said, _ := os.ReadFile(log.Name()) // nothing is shown if it cannot be read
	return fmt.Errorf("%s does not answer at %s:\n%s", binary, address, said)
}

// stop ends all of them, and waits for that.
func (s *servers) stop() error {
	var errs []error
	for _, p := range s.processes {
		errs = append(errs, p.Process.Kill())
		_ = p.Wait() // it was killed, and says so
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// freePorts finds loopback addresses that nobody listens on now.
func freePorts(n int) (list []string, err error) {
	var open []io.Closer
	defer func() {
		for _, l := range open {
			l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open, list = append(open, l), append(list, l.Addr().String())
	}
	return list, nil
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address) // freePorts made it
	return port
}
