package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seed-95a32959/holdfast/test/internal/nursery"
)

// runMixed rolls a cluster of the last release up to this build, up to one that
// speaks a version more, and back down, node by node and under load, again and
// again. After the nodes the router changes, while nobody asks it: it has served
// with nodes of the other build by then.
func runMixed(ctx context.Context, e *env, r *report) error {
	old, version, err := e.lastRelease(ctx)
	if err != nil {
		return err
	}
	r.figure("the release before", "%s", version)
	next := filepath.Join(e.dir, "holdfast-next")
	if err := nursery.Build(ctx, next, "nextwire"); err != nil {
		return err
	}
	small := *e
	small.nodes = mixedNodes
	builds, at := []string{old, e.bin, next, e.bin}, 0
	return underReads(ctx, &small, r, change{name: "roll", planned: true,
		begin: func(ctx context.Context, e *env) (*bench, error) {
			return e.newBenchAt(ctx, loopback(e.basePort), func(m *member) { m.bin = old })
		},
		prepare: func(ctx context.Context, _ *env, b *bench) error {
			if b.router().bin == b.nodes()[0].bin {
				return nil // the first time
			}
			if err := b.terminate(ctx, b.router()); err != nil {
				return err
			}
			b.router().bin = b.nodes()[0].bin
			return b.comeBack(ctx, b.router())
		},
		do: func(ctx context.Context, _ *env, b *bench) error {
			at = (at + 1) % len(builds)
			for _, m := range b.nodes() {
				if err := b.terminate(ctx, m); err != nil {
					return err
				}
				m.bin = builds[at]
				if err := b.comeBack(ctx, m); err != nil {
					return err
				}
			}
			return nil
		}})
}

// mixedNodes is as few as a cluster has whose nodes are replaced one by one.
const mixedNodes = 3

// lastRelease builds the last release that RELEASES names, from its commit,
// unless -old names a file.
func (e *env) lastRelease(ctx context.Context) (bin, version string, err error) {
	if e.old != "" {
		bin, err = filepath.Abs(e.old)
		return bin, "as " + e.old + " is", err
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/seed-95a32959/holdfast").Output()
	if err != nil {
		return "", "", fmt.Errorf("where this module is: %w", err)
	}
	root := strings.TrimSpace(string(out))
	text, err := os.ReadFile(filepath.Join(root, "RELEASES"))
	if err != nil {
		return "", "", err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	words := strings.Fields(lines[len(lines)-1])
	if len(words) != 3 {
		return "", "", fmt.Errorf("RELEASES: %q, accepted are a version, a wire range and a commit", lines[len(lines)-1])
	}
	tree := filepath.Join(e.dir, "release")
	if err := inDir(ctx, root, "git", "worktree", "add", "--detach", tree, words[2]); err != nil {
		return "", "", fmt.Errorf("%s: %w; a clone without history has no releases: git fetch --unshallow, or give -old", words[0], err)
	}
	bin = filepath.Join(e.dir, "holdfast-"+words[0])
	err = inDir(ctx, tree, "go", "build", "-o", bin, "./cmd/holdfast")
	return bin, words[0], errors.Join(err, inDir(context.WithoutCancel(ctx), root, "git", "worktree", "remove", "--force", tree))
}

func inDir(ctx context.Context, dir string, words ...string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return nil
}
