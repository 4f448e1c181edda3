package org.kerascnn.demo.core

import org.json.JSONArray
import org.json.JSONObject

/**
 * Fields of an object as what they must be; another kind of value is a broken file.
 *
 * @param path where the object stands, for messages.
 */
internal class Fields(private val json: JSONObject, private val path: String) {
    fun has(name: String): Boolean = !json.isNull(name)

    /** Whether it is there, be it null. */
    fun holds(name: String): Boolean = json.has(name)

    fun isText(name: String): Boolean = json.opt(name) is String

    /** Whether it is a list without members. */
    fun isEmpty(name: String): Boolean = members(json.opt(name))?.isEmpty() == true

    fun demand(fine: Boolean, name: String) {
        if (!fine) throw DescriptionReader.broken(path + name)
    }

    fun text(name: String): String = json.opt(name) as? String ?: fail(name)

    fun textOr(name: String): String = if (has(name)) text(name) else ""

    fun flag(name: String): Boolean = json.opt(name) as? Boolean ?: fail(name)

    fun whole(name: String, range: IntRange): Int =
        (json.opt(name) as? Int)?.takeIf { it in range } ?: fail(name)

    fun isNumber(name: String): Boolean = json.opt(name) is Number

    fun number(name: String, fine: (Double) -> Boolean): Double =
        finite(json.opt(name))?.takeIf(fine) ?: fail(name)

    fun numberOr(name: String, missing: Double, fine: (Double) -> Boolean): Double =
        if (has(name)) number(name, fine) else missing

    fun <T : Any> choice(name: String, vararg known: Pair<String, T>, missing: T? = null): T {
        if (missing != null && !has(name)) return missing
        return known.toMap()[text(name)] ?: fail(name)
    }

    fun inside(name: String): Fields =
        Fields(json.opt(name) as? JSONObject ?: fail(name), "$path$name.")

    /** Members of a list that is not empty; `read` gives null for what does not belong there. */
    fun <T : Any> list(name: String, read: (Any?) -> T?): List<T> {
        val members = members(json.opt(name)) ?: fail(name)
        demand(members.isNotEmpty(), name)
        return members.map { read(it) ?: fail(name) }
    }

    fun objects(name: String): List<Fields> {
        val members = members(json.opt(name)) ?: fail(name)
        return members.mapIndexed { at, one ->
            Fields(one as? JSONObject ?: fail(name), "$path$name[$at].")
        }
    }

    /** The same, called by the list's name alone. */
    fun nameless(name: String): List<Fields> = (members(json.opt(name)) ?: fail(name)).map { one ->
        Fields(one as? JSONObject ?: fail(name), "$path$name.")
    }

    /** [place, number] each. */
    fun numbered(name: String, fine: (Double) -> Boolean): List<Pair<Int, Double>> = list(name) { one ->
        val members = members(one)?.takeIf { it.size == 2 } ?: return@list null
        val place = (members[0] as? Int)?.takeIf { it >= 0 }
        val number = finite(members[1])?.takeIf(fine)
        if (place == null || number == null) null else place to number
    }

    fun pairs(name: String): List<Pair<Double, Double>> = list(name) { one ->
        val numbers = members(one)?.map(::finite)
        if (numbers?.size != 2) return@list null
        val (first, second) = numbers
        if (first == null || second == null) null else first to second
    }

    /** [red, green, blue] as opaque ARGB. */
    fun colours(name: String): List<Int> = list(name) { one ->
        val bytes = members(one)?.map { (it as? Int)?.takeIf { byte -> byte in 0..255 } }
        if (bytes?.size != 3 || null in bytes) return@list null
        bytes.filterNotNull().fold(0xff) { colour, byte -> colour shl 8 or byte }
    }

    private fun members(value: Any?): List<Any?>? =
        (value as? JSONArray)?.let { list -> List(list.length()) { list.opt(it) } }

    private fun fail(name: String): Nothing = throw DescriptionReader.broken(path + name)
}

/** A number that is one; null otherwise. */
internal fun finite(value: Any?): Double? = (value as? Number)?.toDouble()?.takeIf { it.isFinite() }
