package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// measureOne loads a proxy and then asks it quietly.
func (b *bench) measureOne(ctx context.Context, p *proxy) error {
	if _, err := b.load(ctx, p, time.Second); err != nil { // connections and caches warm
		return err
	}
	before, err := processorTime(p.command.Process.Pid)
	if err != nil {
		return err
	}
	requests, err := b.load(ctx, p, b.duration)
	if err != nil {
		return err
	}
	after, err := processorTime(p.command.Process.Pid)
	if err != nil {
		return err
	}
	p.cpu = append(p.cpu, (after-before).Seconds()/float64(requests)*1e6)
	p.rate = append(p.rate, float64(requests)/b.duration.Seconds())
	d, err := medianLatency(ctx, p.address)
	p.latency = append(p.latency, d)
	return err
}

var (
	requestCount = regexp.MustCompile(`(\d+) requests in`)
	failures     = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors: .*`)
)

// load runs wrk and returns how many requests were answered, all of them well.
func (b *bench) load(ctx context.Context, p *proxy, d time.Duration) (int, error) {
	out, err := exec.CommandContext(ctx, "wrk", "-t", "2", "-c", "50", "-d", fmt.Sprintf("%.0fs", d.Seconds()), "-s", b.path("users.lua"),
		"http://"+p.address+"/").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	if bad := failures.Find(out); bad != nil {
		return 0, fmt.Errorf("wrk: %s", bad)
	}
	m := requestCount.FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk: no count of requests in %q", out)
	}
	return strconv.Atoi(string(m[1]))
}

// processorTime is what a process and its children have used, in user and
// system mode.
func processorTime(pid int) (total time.Duration, err error) {
	pids := []int{pid}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err == nil {
		for _, word := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(word); err == nil {
				pids = append(pids, child)
			}
		}
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// Behind the name, which may hold spaces: state is the first field,
		// utime and stime the 12th and 13th (proc(5)), in hundredths.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] {
			ticks, err := strconv.Atoi(f)
			if err != nil {
				return 0, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
			}
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return total, nil
}

// medianLatency sends requests one by one on one connection.
func medianLatency(ctx context.Context, address string) (time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	const warm, count = 500, 5000
	times := make([]time.Duration, 0, count)
	r := bufio.NewReader(conn)
	for i := range warm + count {
		began := time.Now()
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: bench\r\nX-User-ID: user-%d\r\n\r\n", i); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			return 0, fmt.Errorf("%s from %s: %w", resp.Status, address, err)
		}
		if i >= warm {
			times = append(times, time.Since(began))
		}
	}
	slices.Sort(times)
	return times[count/2], nil
}

func least[T time.Duration | float64](values []T) T { return slices.Min(values) }
func most[T time.Duration | float64](values []T) T  { return slices.Max(values) }
