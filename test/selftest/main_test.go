package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-95a32959/holdfast/internal/planted"
)

// A bug that is planted in a package of which no test is run here may be missed
// by the simulation alone.
func TestEveryPackageWithAPlantedBugIsTested(t *testing.T) {
	root := filepath.Join("..", "..")
	found := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("planted.Is(")) {
			return err
		}
		found++
		folder, err := filepath.Rel(root, filepath.Dir(path))
		require.Contains(t, packages, "./"+filepath.ToSlash(folder), path)
		return err
	}))
	require.Positive(t, found)
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ output, test, complaint string }{
		{"ok\nPASS\n", "", ""},
		{"    --- FAIL: TestChaos/1 (1.00s)\n        x.go:1: broken: a | b:\n--- FAIL: TestChaos (1.00s)\n", "TestChaos/1", "a / b"},
		{"--- FAIL: TestX (0.00s)\n\tError:  \tShould be\n\t\t  \tfalse\n\tTest:  \tTestX\n", "TestX", "Should be false"},
		{"=== RUN   TestY\npanic: test timed out after 20m0s\n\trunning tests:\n\t\tTestY (19m1s)\n\t\tTestZ (2s)\n\ngoroutine 1 [running]:\nTestIt (x)\n", "TestY", "has not ended"},
	} {
		test, complaint := read(c.output)
		require.Equal(t, c.test, test)
		require.Equal(t, c.complaint, complaint)
	}
}

// A package whose time was up has caught no bug: the next one is asked. Without a
// bug it has failed.
func TestSlowProvesNothing(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
		return path
	}
	slow := script("slow", "printf 'panic: test timed out after 1s\\n\\trunning tests:\\n\\t\\tTestY (1s)\\n'; exit 2\n")
	red := script("red", "echo '--- FAIL: TestX (0.00s)'; exit 1\n")
	green := script("green", "exit 0\n")
	for _, c := range []struct {
		bug    planted.Bug
		second string
		test   string
	}{
		{planted.NoRejoin, red, filepath.Base(dir) + ".TestX"},
		{planted.NoRejoin, green, ""},
		{"", green, filepath.Base(dir) + ".TestY"},
	} {
		tester := tester{packages: []string{dir, dir}, binaries: []string{slow, c.second}, timeout: time.Minute}
		found, err := tester.run(t.Context(), c.bug)
		require.NoError(t, err)
		require.Equal(t, c.test, found.test)
	}
}
