package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	clients    = 50
	valueBytes = 300
	// settle is how long a run waits at its end for what the servers do after
	// the last answer, which is part of what the commands cost.
	settle = 500 * time.Millisecond
	// ticksPerSecond is the unit of /proc/PID/stat, the same on every Linux
	// that Go runs on.
	ticksPerSecond = 100
)

// result is one run.
type result struct {
	cpu  float64 // seconds for a million commands, over all processes
	rate float64 // commands a second
	p99  float64 // milliseconds
}

// of returns one figure of all runs, in order of size.
func (c *benchCase) of(figure func(result) float64) (list []float64) {
	for _, r := range c.runs {
		list = append(list, figure(r))
	}
	return sorted(list)
}

func sorted(list []float64) []float64 {
	slices.Sort(list)
	return list
}

// median takes a list in order of size.
func median(list []float64) float64 { return (list[len(list)/2] + list[(len(list)-1)/2]) / 2 }

func (o *options) measure(ctx context.Context, c *benchCase, counts bool) error {
	n := o.requests
	if c.pipeline > 1 {
		n *= 4
	}
	before, err := c.side.cpu()
	if err != nil {
		return err
	}
	r, err := o.play(ctx, c, n)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", c.name, c.command(), err)
	}
	time.Sleep(settle)
	after, err := c.side.cpu()
	if err != nil {
		return err
	}
	r.cpu = (after - before).Seconds() / float64(n) * 1e6
	if counts {
		c.runs = append(c.runs, r)
	}
	return nil
}

// play runs redis-benchmark once.
func (o *options) play(ctx context.Context, c *benchCase, n int) (r result, err error) {
	args := []string{
		"-p", strconv.Itoa(c.side.port), "-c", strconv.Itoa(clients), "-n", strconv.Itoa(n), "-r", strconv.Itoa(o.keys),
		"-P", strconv.Itoa(c.pipeline), "--csv",
	}
	key := "key:__rand_int__"
	if c.cluster {
		// redis-benchmark puts for {tag} one of the slots of the node that it
		// sends the command to.
		args, key = append(args, "--cluster"), "key:{tag}:__rand_int__"
	}
	if c.set {
		args = append(args, "SET", key, strings.Repeat("x", valueBytes), "EX", "1800")
	} else {
		args = append(args, "GET", key)
	}
	out, err := exec.CommandContext(ctx, o.benchmark, args...).Output()
	if err != nil {
		return r, fmt.Errorf("%s: %w: %s", o.benchmark, err, out)
	}
	return parseCSV(string(out))
}

// parseCSV finds a run's figures in what redis-benchmark prints with --csv,
// which with --cluster has lines on the nodes before it.
func parseCSV(out string) (r result, err error) {
	at := strings.Index(out, `"test","rps"`)
	if at < 0 {
		return r, fmt.Errorf("redis-benchmark has printed no table: %q", out)
	}
	rows := csv.NewReader(strings.NewReader(out[at:]))
	head, err := rows.Read()
	if err != nil {
		return r, err
	}
	row, err := rows.Read()
	if err != nil {
		return r, fmt.Errorf("redis-benchmark's table has no row: %w", err)
	}
	for name, to := range map[string]*float64{"rps": &r.rate, "p99_latency_ms": &r.p99} {
		i := slices.Index(head, name)
		if i < 0 {
			return r, fmt.Errorf("redis-benchmark's table has no %s: %q", name, head)
		}
		if *to, err = strconv.ParseFloat(row[i], 64); err != nil {
			return r, err
		}
	}
	return r, nil
}

// cpu is the time that the side's processes have run, in user and kernel mode.
func (s *side) cpu() (total time.Duration, err error) {
	for _, p := range s.processes {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
		if err != nil {
			return 0, err
		}
		ticks, err := ticksOf(string(b))
		if err != nil {
			return 0, err
		}
		total += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	return total, nil
}

// ticksOf adds utime and stime of a line of /proc/PID/stat, whose second field
// is a name in parentheses that may hold anything.
func ticksOf(stat string) (int64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat: %q", stat)
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return user + system, err
}

// memory says what a string takes beside its value and key. Redis tells it as
// used_memory; of a node it is the heap that is live after a collection, which
// its profile gives.
func (o *options) memory(ctx context.Context, w io.Writer, all sides) error {
	fmt.Fprintln(w)
	for _, m := range []struct {
		name string
		side *side
	}{{"redis-server", all.redis}, {"one node", all.one}} {
		keys, bytes, err := m.side.held(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if keys == 0 {
			return fmt.Errorf("%s holds no key", m.name)
		}
		each := float64(bytes-m.side.empty)/float64(keys) - valueBytes - float64(len("key:000000000000"))
		rss, err := m.side.resident()
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s: %d strings of %d bytes, each with %.0f bytes beside key and value; the process has %d MiB resident\n",
			m.name, keys, valueBytes, each, rss>>20)
	}
	return nil
}
