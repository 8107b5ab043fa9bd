#include "dev/chipset/rtc_time.h"

/*
 * Years are counted from March, so that the leap day is the last of its year, and from the year
 * -400, so that everything is positive: 1970-01-01 is day 719468 since 0000-03-01.
 */
enum {
    DAYS_PER_400_YEARS = 146097,
    DAYS_PER_100_YEARS = 36524,
    DAYS_PER_4_YEARS = 1461,
    DAYS_PER_5_MONTHS = 153, /* from March on: 31 30 31 30 31 */
    EPOCH_DAY = 719468 + DAYS_PER_400_YEARS,
    EPOCH_WEEKDAY = 4, /* Thursday, Sunday being 0 */
};

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Whole days, towards the past. */
static int64_t days_in(int64_t seconds)
{
    return (seconds - (seconds < 0 ? SECONDS_PER_DAY - 1 : 0)) / SECONDS_PER_DAY;
}

static void set_date(struct rtc_time *time, uint64_t day)
{
    uint64_t year = day / DAYS_PER_400_YEARS * 400, centuries, fours, years, month;

    day %= DAYS_PER_400_YEARS;
    centuries = day / DAYS_PER_100_YEARS < 3 ? day / DAYS_PER_100_YEARS : 3;
    day -= centuries * DAYS_PER_100_YEARS;
    fours = day / DAYS_PER_4_YEARS;
    day %= DAYS_PER_4_YEARS;
    years = day / 365 < 3 ? day / 365 : 3;
    day -= years * 365;
    year += centuries * 100 + fours * 4 + years - 400;

    month = (day * 5 + 2) / DAYS_PER_5_MONTHS; /* March is 0 */
    time->day = (uint8_t)(day - (month * DAYS_PER_5_MONTHS + 2) / 5 + 1);
    time->month = (uint8_t)(month < 10 ? month + 3 : month - 9);
    time->year = (uint16_t)(month < 10 ? year : year + 1);
}

struct rtc_time rtc_time_from_seconds(int64_t seconds)
{
    struct rtc_time time = {0};
    int64_t days;
    uint32_t rest;

    seconds = clamp(seconds, RTC_SECONDS_MIN, RTC_SECONDS_MAX);
    days = days_in(seconds);
    rest = (uint32_t)(seconds - days * SECONDS_PER_DAY);
    time.hour = (uint8_t)(rest / SECONDS_PER_HOUR);
    time.minute = (uint8_t)(rest / SECONDS_PER_MINUTE % 60);
    time.second = (uint8_t)(rest % 60);
    time.weekday = (uint8_t)((days + EPOCH_DAY + (EPOCH_WEEKDAY + 7 - EPOCH_DAY % 7)) % 7 + 1);
    set_date(&time, (uint64_t)(days + EPOCH_DAY));
    return time;
}

int64_t rtc_time_to_seconds(const struct rtc_time *time)
{
    int64_t month = clamp(time->month, 1, 12) - 3, year = clamp(time->year, 0, 9999) + 400, days;

    if (month < 0) {
        month += 12;
        year--;
    }
    days = year * 365 + year / 4 - year / 100 + year / 400 + (month * DAYS_PER_5_MONTHS + 2) / 5 +
           clamp(time->day, 1, 31) - 1 - EPOCH_DAY;
    return days * SECONDS_PER_DAY + clamp(time->hour, 0, 23) * SECONDS_PER_HOUR +
           clamp(time->minute, 0, 59) * SECONDS_PER_MINUTE + clamp(time->second, 0, 59);
}

