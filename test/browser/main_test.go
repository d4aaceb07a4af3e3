package browser

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var (
	chromium string // the browser's executable
	holdfast string // ours, built for these tests
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	chromium = findChromium()
	if chromium == "" {
		if os.Getenv("REQUIRE_BROWSER") == "1" {
			fmt.Fprintln(os.Stderr, "browser tests: no Chromium found, and REQUIRE_BROWSER=1: install Debian's package chromium")
			return 1
		}
		fmt.Println("browser tests SKIPPED: no Chromium found. Debian's package is chromium; REQUIRE_BROWSER=1 makes this a failure")
		return 0
	}
	dir, err := os.MkdirTemp("", "holdfast-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	holdfast = filepath.Join(dir, "holdfast")
	build := exec.Command("go", "build", "-o", holdfast, "./cmd/holdfast")
	build.Dir = filepath.Join("..", "..")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build holdfast:", err)
		return 1
	}
	return m.Run()
}

func findChromium() string {
	for _, name := range []string{os.Getenv("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
