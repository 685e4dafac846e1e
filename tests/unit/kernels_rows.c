/* kernels_rows.c - norms, rotation, activations, moved rows and the exponential of the CPU backend */
#include "kernels/cpu/vmath.h"
#include "tests/unit/kernels.h"

static const size_t counts[] = {0, 1, 31, 32, 33, 257};
enum { COUNTS = sizeof counts / sizeof *counts };

/* Difference in units of the last place of the right answer (of subnormals: of the smallest). */
static double ulps(float got, double want)
{
    int exponent;

    frexp(want, &exponent);
    return fabs(got - want) / ldexp(1, exponent < -125 ? -149 : exponent - 24);
}

static void exponential(void)
{
    double worst = 0, worst64 = 0;

    for (uint32_t u = 0; u < 0x42b17218; u += 211) { /* both signs up to 88.72, where fp32 ends */
        float x = f32_from_bits(u);
        double up = ulps(exp_f32(x), exp(x)), down = ulps(exp_f32(-x), exp(-(double)x));

        worst = up > worst ? up : worst;
        worst = down > worst ? down : worst;
    }
    for (float x = -104.5f; x < -87; x += 0x1p-12f) {
        double d = ulps(exp_f32(x), exp(x));

        worst = d > worst ? d : worst;
    }
    CHECK(worst <= 1, "exp_f32 is within 1 ulp: %.3f", worst);
    for (double x = -700; x < 30; x += 0x1.01p-10) {
        double want = exp(x), d = fabs(exp_f64(x) - want) / want;

        worst64 = d > worst64 ? d : worst64;
    }
    CHECK(worst64 <= 0x1p-51, "exp_f64 is within 2 ulp: %.3f", worst64 * 0x1p52);
    CHECK(exp_f32(0) == 1 && exp_f32(-0.0f) == 1 && exp_f64(0) == 1, "the exponential of 0 is 1");
    CHECK(exp_f32(INFINITY) == INFINITY && exp_f32(89) == INFINITY && exp_f32(-INFINITY) == 0 &&
              exp_f64(-INFINITY) < 1e-303,
          "it overflows to infinity and underflows to 0");
    CHECK(isnan(exp_f32(NAN)) && isnan(exp_f32(-NAN)) && isnan(exp_f64(NAN)) && isnan(exp_f64(-NAN)),
          "and keeps NaN");
}

static void maximum(void)
{
    float x[] = {-INFINITY, -3, -1e-45f, -0.0f, 0, 1e-45f, 2, 3e38f, INFINITY};
    int n = sizeof x / sizeof *x, bad = 0;

    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            float pair[2] = {x[i], x[j]};

            bad += (order_of(x[i]) < order_of(x[j])) != (x[i] < x[j]) || from_order(order_of(x[i])) != x[i];
            bad += max_f32(pair, 2) != (x[i] > x[j] ? x[i] : x[j]);
        }
    CHECK(bad == 0, "floats are ordered by order_of, and the larger of two is the maximum");
    CHECK(max_f32(x, 0) == -INFINITY && isnan(max_f32((float[]){1, -NAN, INFINITY}, 3)),
          "the maximum keeps NaN");
}

/* The loss sum(y dy) of one row. */
struct norm {
    const double *w, *dy;
    double *y;
    size_t dim;
};

static double norm_loss(const double *x, const void *context)
{
    const struct norm *n = context;
    double sum = 0;

    exact->rmsnorm(exact, n->y, x, n->w, 1, n->dim, 1e-6f, NULL);
    for (size_t i = 0; i < n->dim; i++)
        sum += n->y[i] * n->dy[i];
    return sum;
}

static void norm(size_t rows, size_t dim)
{
    size_t n = rows * dim;
    float *x = randoms(n, 2), *w = randoms(dim, 1), *g = randoms(n, 1), *dx = randoms(n, 1), *y = room(4 * n);
    double *xd = doubles(x, n), *gd = doubles(g, n), *before = doubles(dx, n), *yd = zeros(n), *dd = zeros(n);
    double *ty = zeros(n), *td = zeros(n);
    float *sum = room(4 * n), *other = room(4 * n);
    double *sum_d = zeros(n), *made = zeros(n), *made_sum = zeros(n);
    struct norm one = {doubles(w, dim), gd, zeros(dim), dim};

    exact->rmsnorm(exact, yd, xd, one.w, rows, dim, 1e-6f, NULL);
    exact->rmsnorm_dx(exact, dd, gd, xd, one.w, rows, dim, 1e-6f);
    for (size_t i = 0; i < n; i++) {
        double inv = fabs(yd[i] / (xd[i] * one.w[i % dim]));

        dd[i] += before[i];
        ty[i] = 4 * U * fabs(yd[i]); /* inv, two products */
        td[i] = U * fabs(dd[i]) +
                8 * U * inv * (1 + fabs(xd[i]) * inv); /* |w|, |g| <= 1, so |mean| <= rms(xn) = 1 */
    }
    be->rmsnorm(be, y, x, w, rows, dim, 1e-6f, NULL);
    be->rmsnorm_dx(be, dx, g, x, w, rows, dim, 1e-6f);
    CHECK(misses(y, yd, ty, n) == 0 && misses(dx, dd, td, n) == 0, "rmsnorm and rmsnorm_dx [%zu, %zu]", rows,
          dim);
    for (size_t i = 0; i < n; i++)
        sum[i] = x[i] + g[i];
    be->rmsnorm(be, y, sum, w, rows, dim, 1e-6f, NULL);
    memcpy(dx, x, 4 * n);
    be->add_rmsnorm(be, dx, other, dx, g, w, rows, dim, 1e-6f, NULL);
    CHECK(same_bits(dx, sum, 4 * n) && same_bits(other, y, 4 * n), "add_rmsnorm, in place");
    for (size_t i = 0; i < n; i++)
        sum_d[i] = xd[i] + gd[i];
    exact->rmsnorm(exact, yd, sum_d, one.w, rows, dim, 1e-6f, NULL);
    exact->add_rmsnorm(exact, made_sum, made, xd, gd, one.w, rows, dim, 1e-6f, NULL);
    CHECK(same_bits(made_sum, sum_d, 8 * n) && same_bits(made, yd, 8 * n), "add_rmsnorm in fp64");
    if (rows == 1 && dim > 1) {
        for (size_t i = 0; i < dim; i++)
            dd[i] -= before[i];
        CHECK(gradient_error(norm_loss, xd, dim, dd, &one) < 1e-8,
              "its fp64 gradient equals central differences");
    }
    if (rows > 30) {
        size_t bad = 0;

        x[dim] = NAN;
        be->rmsnorm(be, y, x, w, rows, dim, 1e-6f, NULL);
        memset(dx, 0, 4 * n);
        be->rmsnorm_dx(be, dx, g, x, w, rows, dim, 1e-6f);
        be->add_rmsnorm(be, sum, other, x, g, w, rows, dim, 1e-6f, NULL);
        for (size_t i = 0; i < n; i++) {
            bad += isnan(y[i]) != (i / dim == 1) || isnan(dx[i]) != (i / dim == 1);
            bad += isnan(sum[i]) != (i == dim) || isnan(other[i]) != (i / dim == 1);
        }
        CHECK(bad == 0, "rmsnorm keeps NaN, in its row alone, and add_rmsnorm in its place");
    }
    done();
}

static void rotation(size_t rows, size_t heads, size_t dim)
{
    size_t half = dim / 2, stride = heads * dim + 3, n = rows * stride, bad = 0;
    float *x = randoms(n, 1), *c = room(rows * half * 4), *s = room(rows * half * 4), *y = room(4 * n),
          *z = room(4 * n);
    double *want = doubles(x, n);

    for (size_t i = 0; i < rows * half; i++) {
        double angle = 4 * uniform();

        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
    memcpy(y, x, 4 * n);
    be->rope(be, y, stride, y, stride, c, s, rows, heads, dim, false);
    exact->rope(exact, want, stride, want, stride, c, s, rows, heads, dim, false);
    for (size_t i = 0; i < n; i++) /* two products and a sum of at most both; |x| <= 1 */
        bad += !(fabs(y[i] - want[i]) <= 4 * U) || (i % stride >= heads * dim && y[i] != x[i]);
    CHECK(bad == 0, "rope in place, %zu rows, %zu heads of %zu", rows, heads, dim);
    memcpy(z, x, 4 * n);
    be->rope(be, z, stride, y, stride, c, s, rows, heads, dim, true);
    for (size_t i = bad = 0; i < n; i++)
        bad += !(fabs(z[i] - x[i]) <=
                 12 * U); /* twice the above with |a|, |b| <= 1.5, and c^2 + s^2 is 1 +- 2 U */
    CHECK(bad == 0, "and back: the inverse is the transpose");
    done();
}

/* f(x) of one number. */
static double silu(const double *x, const void *context)
{
    double y, one = 1;

    (void)context;
    exact->swiglu(exact, &y, x, &one, 1, 1, NULL);
    return y;
}

static double gelu(const double *x, const void *context)
{
    double y;

    (void)context;
    exact->gelu(exact, &y, x, 1);
    return y;
}

static void slopes(void)
{
    double worst = 0, one = 1, slope, du;

    for (double x = -4.9; x < 5; x += 0.5) {
        double at = x, e;

        exact->swiglu_dx(exact, &slope, &du, NULL, &one, &at, &one, 1, 1, NULL);
        e = gradient_error(silu, &at, 1, &slope, NULL) * fabs(slope);
        worst = e > worst || e != e ? e : worst;
        exact->gelu_dx(exact, &slope, &one, &at, 1);
        e = gradient_error(gelu, &at, 1, &slope, NULL) * fabs(slope);
        worst = e > worst || e != e ? e : worst;
    }
    CHECK(worst < 1e-8, "fp64 slopes of silu and gelu equal central differences: %.1e", worst);
}

static void activations(size_t n, double scale)
{
    float *g = randoms(n, scale), *u = randoms(n, 1), *ds = randoms(n, 1), *y = room(4 * n),
          *dg = room(4 * n), *du = room(4 * n), *s = room(4 * n), *dh = room(4 * n), *dv = room(4 * n);
    double *ge = doubles(g, n), *ue = doubles(u, n), *de = doubles(ds, n), *ye = zeros(n), *dge = zeros(n),
           *due = zeros(n), *se = zeros(n), *dhe = zeros(n), *dve = zeros(n);
    size_t bad = 0;

    be->swiglu(be, y, g, u, 1, n, NULL);
    be->swiglu_dx(be, dg, du, NULL, ds, g, u, 1, n, NULL);
    be->swiglu_dx(be, dh, dv, s, ds, g, u, n, 1, NULL);
    exact->swiglu(exact, ye, ge, ue, 1, n, NULL);
    exact->swiglu_dx(exact, dge, due, NULL, de, ge, ue, 1, n, NULL);
    exact->swiglu_dx(exact, dhe, dve, se, de, ge, ue, n, 1, NULL);
    CHECK(same_bits(s, y, 4 * n) && same_bits(dh, dg, 4 * n) && same_bits(dv, du, 4 * n) &&
              same_bits(se, ye, 8 * n) && same_bits(dhe, dge, 8 * n) && same_bits(dve, due, 8 * n),
          "swiglu_dx of %zu makes swiglu again, to the bit", n);
    for (size_t i = 0; i < n; i++) {
        /* exp 2 U; sum, quotient, two products; results below 1e-36 may be flushed */
        bad += !(fabs(y[i] - ye[i]) <= 6 * U * fabs(ye[i]) + 1e-36);
        bad += !(fabs(du[i] - due[i]) <= 6 * U * fabs(due[i]) + 1e-36);
        bad += !(fabs(dg[i] - dge[i]) <= 8 * U * fabs(de[i] * ue[i]) * (1 + fabs(ge[i])));
    }
    CHECK(bad == 0, "swiglu and swiglu_dx of %zu, |g| to %g", n, scale);
    be->gelu(be, y, g, n);
    be->gelu_dx(be, ds, ds, g, n);
    be->gelu_dx(be, dg, u, g, n);
    exact->gelu(exact, ye, ge, n);
    exact->gelu_dx(exact, de, de, ge, n);
    exact->gelu_dx(exact, dge, ue, ge, n);
    for (size_t i = bad = 0; i < n; i++) {
        /* 1 + erf: 2 U + U absolute, halved; exp's argument a^2 / 2: a^3 phi(a) < 1 */
        bad += !(fabs(y[i] - ye[i]) <= 4 * U * fabs(g[i]));
        bad += !(fabs(dg[i] - dge[i]) <= 8 * U * fabs(u[i])) || !(fabs(ds[i] - de[i]) <= 8 * U);
    }
    CHECK(bad == 0, "gelu and gelu_dx of %zu, |x| to %g", n, scale);
    done();
}

static void nan_elements(void)
{
    float x[2] = {NAN, 1}, one[2] = {1, 1}, y[2], dg[2], du[2];

    be->swiglu(be, y, x, one, 1, 2, NULL);
    be->swiglu_dx(be, dg, du, NULL, one, x, one, 1, 2, NULL);
    CHECK(isnan(y[0]) && isnan(dg[0]) && isnan(du[0]) && !isnan(y[1] + dg[1] + du[1]), "swiglu keeps NaN");
    be->gelu(be, y, x, 2);
    be->gelu_dx(be, dg, one, x, 2);
    CHECK(isnan(y[0]) && isnan(dg[0]) && !isnan(y[1] + dg[1]), "gelu keeps NaN");
}

static void rows_moved(size_t rows, size_t dim)
{
    float *x = randoms(rows * dim, 1), *y = room(rows * dim * 4), *z = room(rows * dim * 4);
    int32_t *index = room(rows * 4 + 4);
    struct weight table = {0};
    size_t bad = 0;

    for (size_t r = 0; r < rows; r++)
        index[r] = (int32_t)((r * 7 + 3) % rows);
    be->gather(be, y, x, index, rows, dim);
    for (size_t i = 0; i < rows * dim; i++)
        bad += y[i] != x[(size_t)index[i / dim] * dim + i % dim];
    be->weight_load(be, &table, rows, dim, x, DT_F32);
    be->embed(be, z, &table, index, rows);
    CHECK(bad == 0 && same_bits(y, z, rows * dim * 4), "gather and embed [%zu, %zu]", rows, dim);
    if (rows % 7)
        be->scatter(be, z, y, index, rows, dim);
    CHECK(rows % 7 == 0 || same_bits(x, z, rows * dim * 4), "scatter undoes gather");
    be->weight_free(be, &table);
    done();
}

int main(void)
{
    if (start())
        return 1;
    exponential();
    maximum();
    slopes();
    nan_elements();
    for (size_t i = 0; i < COUNTS; i++) {
        norm(counts[i], 192);
        norm(counts[i], 33);
        rotation(counts[i], 4, 24);
        rotation(counts[i], 3, 128);
        activations(counts[i], 8);
        rows_moved(counts[i], 192);
        rows_moved(counts[i], 31);
    }
    norm(1, 1);
    norm(3, 8192);
    rotation(33, 1, 2);
    activations(20000, 100);
    activations(20000, 1);
    return finish();
}
