package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// ringAnswer is what this program reads of /admin/ring.
type ringAnswer struct {
	Fingerprint string `json:"fingerprint"`
	Members     []struct {
		Name string `json:"name"`
		Boot string `json:"boot"`
		Role string `json:"role"`
		Pid  int    `json:"pid"`
	} `json:"members"`
	Partitions []struct {
		Owner      string   `json:"owner"`
		Successors []string `json:"successors"`
	} `json:"partitions"`
}

// owners are the names that own partitions.
func (r ringAnswer) owners() map[string]bool {
	m := make(map[string]bool)
	for _, p := range r.Partitions {
		m[p.Owner] = true
	}
	return m
}

// keyAnswer is what this program reads of /admin/ring?key=.
type keyAnswer struct {
	Owner      string   `json:"owner"`
	Successors []string `json:"successors"`
	Holders    []struct {
		Name    string `json:"name"`
		State   string `json:"state"`
		Version string `json:"version"`
		Hash    string `json:"hash"`
	} `json:"holders"`
}

// statsAnswer is what this program reads of /admin/stats.
type statsAnswer struct {
	Fingerprint string           `json:"fingerprint"`
	Sessions    int              `json:"sessions"`
	BelowTarget int              `json:"below_target"`
	Dirty       int              `json:"dirty"`
	Lag         float64          `json:"lag_ms"`
	Counters    map[string]int64 `json:"counters"`
}

// adminTimeout is how long a question to a member's admin door may take.
const adminTimeout = time.Second

// admin is the operator's door of one member.
type admin struct {
	client *http.Client
	base   string // http://host:port
}

func newAdmin(address string) *admin {
	return &admin{
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: keepIdle}},
		base:   "http://" + address,
	}
}

func (a *admin) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", path, resp.Status, body)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(body, v)
}

func (a *admin) ring(ctx context.Context) (r ringAnswer, err error) {
	return r, a.get(ctx, "/admin/ring", &r)
}

func (a *admin) key(ctx context.Context, key string) (k keyAnswer, err error) {
	return k, a.get(ctx, "/admin/ring?key="+url.QueryEscape(key), &k)
}

func (a *admin) stats(ctx context.Context) (s statsAnswer, err error) {
	return s, a.get(ctx, "/admin/stats", &s)
}

func (a *admin) ready(ctx context.Context) error { return a.get(ctx, "/readyz", nil) }

// drain has the member hand everything over, and returns when it says that it
// has, or why it could not.
func (a *admin) drain(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+"/admin/drain", nil)
	if err != nil {
		return err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only to be shown
		return fmt.Errorf("POST /admin/drain: %s: %s", resp.Status, body)
	}
	last := "nothing"
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); last = lines.Text() {
		var line struct {
			Done     bool   `json:"done"`
			Unsynced int    `json:"unsynced"`
			Error    string `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("POST /admin/drain: line %q: %w", lines.Text(), err)
		}
		if line.Error != "" {
			return fmt.Errorf("POST /admin/drain: %s", line.Error)
		}
		if line.Done {
			return nil
		}
	}
	return fmt.Errorf("POST /admin/drain: ended without done; the last line was %s", last)
}
