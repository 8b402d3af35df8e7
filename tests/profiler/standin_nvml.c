/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for NVIDIA's management library, so that the real Python binding can be
 * driven without a driver: two boards that draw `idle_w`, and `load_w` from `on_s` to
 * `off_s`. Tests change it while it is loaded: standin_set(name, value) sets a number,
 * standin_fail(function, code) makes a function return that NVML error ("" for all).
 * Time is the machine's unless `time_s` is set.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef void *board;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned version, sensor; int celsius; } heat;
typedef struct {
  unsigned field, scope;
  long long stamp, latency;
  unsigned type;
  int code;
  union { double real; unsigned small; unsigned long long large; } value;
} field_value;

static struct { const char *name; double value; } numbers[] = {
  {"time_s", -1}, {"idle_w", 80}, {"load_w", 500}, {"on_s", 0}, {"off_s", 1e18},
  {"tick_s", 0.1}, {"counter_factor", 1}, {"counter_stops_s", 1e18}, {"sensor_factor", 1},
  {"sensor_stuck_w", -1}, {"ripple_w", 3}, {"limit_w", 700}, {"reasons", 4},
  {"capability", 90}, {"mig", 0}, {"boards", 2}, {"new_api", 1},
};
static struct { char function[64]; int code; } failures[16];
static int n_failures;

static double number(const char *name) {
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (!strcmp(numbers[i].name, name)) return numbers[i].value;
  return 0;
}
int standin_set(const char *name, double value) {
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (!strcmp(numbers[i].name, name)) { numbers[i].value = value; return 0; }
  return 1;
}
void standin_fail(const char *function, int code) {
  snprintf(failures[n_failures].function, 64, "%s", function);
  failures[n_failures++].code = code;
}
static int failed(const char *function) {
  for (int i = 0; i < n_failures; i++)
    if (!*failures[i].function || !strcmp(failures[i].function, function)) return failures[i].code;
  return 0;
}
#define CHECK int code = failed(__func__); if (code) return code

static double now(void) {
  struct timespec at;
  if (number("time_s") >= 0) return number("time_s");
  clock_gettime(CLOCK_MONOTONIC, &at);
  return at.tv_sec + 1e-9 * at.tv_nsec;
}
static double watts(double at_s) {
  double base = at_s >= number("on_s") && at_s < number("off_s") ? number("load_w") : number("idle_w");
  if (number("sensor_stuck_w") >= 0) return number("sensor_stuck_w");
  return number("sensor_factor") * (base + number("ripple_w") * sin(977 * at_s));
}
static double joules(double at_s) {
  double loaded_s = fmin(at_s, number("off_s")) - number("on_s");
  return number("idle_w") * at_s + (number("load_w") - number("idle_w")) * fmax(0, loaded_s);
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; CHECK; return 0; }
int nvmlInit_v2(void) { CHECK; return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int which) { (void)which; return "stand-in"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { CHECK; snprintf(text, size, "570.00"); return 0; }
int nvmlSystemGetNVMLVersion(char *text, unsigned size) { CHECK; snprintf(text, size, "12.570.00"); return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { CHECK; *version = 12080; return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { CHECK; *count = (unsigned)number("boards"); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, board *out) { CHECK; *out = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(board b, char *text, unsigned size) { (void)b; CHECK; snprintf(text, size, "NVIDIA H100 80GB HBM3"); return 0; }
int nvmlDeviceGetUUID(board b, char *text, unsigned size) { CHECK; snprintf(text, size, "GPU-000%ld-aaaa", (long)b); return 0; }
int nvmlDeviceGetMemoryInfo(board b, memory *out) { (void)b; CHECK; out->total = 85520809984ULL; out->free = out->total; out->used = 0; return 0; }
int nvmlDeviceGetClockInfo(board b, unsigned kind, unsigned *mhz) { (void)b; CHECK; *mhz = kind == 1 ? 1980 : 2619; return 0; }
int nvmlDeviceGetTemperatureV(board b, heat *out) { (void)b; CHECK; out->celsius = 55; return 0; }
int nvmlDeviceGetTemperature(board b, unsigned sensor, unsigned *out) { (void)b; (void)sensor; CHECK; *out = 54; return 0; }
int nvmlDeviceGetEnforcedPowerLimit(board b, unsigned *mw) { (void)b; CHECK; *mw = (unsigned)(number("limit_w") * 1e3); return 0; }
int nvmlDeviceGetMigMode(board b, unsigned *is, unsigned *will) { (void)b; CHECK; *is = *will = (unsigned)number("mig"); return 0; }
int nvmlDeviceGetCudaComputeCapability(board b, int *major, int *minor) {
  (void)b; CHECK;
  *major = (int)number("capability") / 10; *minor = (int)number("capability") % 10;
  return 0;
}
int nvmlDeviceGetCurrentClocksEventReasons(board b, unsigned long long *bits) { (void)b; CHECK; *bits = (unsigned long long)number("reasons"); return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(board b, unsigned long long *bits) { (void)b; CHECK; *bits = (unsigned long long)number("reasons"); return 0; }
int nvmlDeviceGetTotalEnergyConsumption(board b, unsigned long long *mj) {
  (void)b; CHECK;
  double at_s = fmin(now(), number("counter_stops_s"));
  *mj = (unsigned long long)(number("counter_factor") * 1e3 * joules(floor(at_s / number("tick_s")) * number("tick_s")));
  return 0;
}
int nvmlDeviceGetPowerUsage(board b, unsigned *mw) { (void)b; CHECK; *mw = (unsigned)(watts(now()) * 1e3); return 0; }
int nvmlDeviceGetFieldValues(board b, int count, field_value *values) {
  (void)b; CHECK;
  for (int i = 0; i < count; i++) {
    int known = number("new_api") && (values[i].field == 185 || values[i].field == 186);
    values[i].code = known ? 0 : 3;
    values[i].type = 1;
    values[i].value.large = 0;
    values[i].value.small = (unsigned)(watts(now()) * 1e3);
  }
  return 0;
}
