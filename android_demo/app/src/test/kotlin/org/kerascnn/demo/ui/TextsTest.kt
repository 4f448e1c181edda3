package org.kerascnn.demo.ui

import java.io.File
import javax.xml.parsers.DocumentBuilderFactory
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.w3c.dom.Element

/** Of the resources as they are written; tests run in the app's folder. */
class TextsTest {
    private val resources = File("src/main/res")

    private fun elements(file: File, name: String): List<Element> {
        val document = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(file)
        val found = document.getElementsByTagName(name)
        return List(found.length) { found.item(it) as Element }
    }

    private fun texts(folder: String): Map<String, List<String>> {
        val file = File(resources, "$folder/strings.xml")
        val single = elements(file, "string")
            .filter { it.getAttribute("translatable") != "false" }
            .associate { it.getAttribute("name") to listOf(it.textContent) }
        val plural = elements(file, "plurals").associate { plurals ->
            val items = plurals.getElementsByTagName("item")
            plurals.getAttribute("name") to List(items.length) { items.item(it).textContent }
        }
        return single + plural
    }

    private fun places(text: String): List<String> =
        Regex("%\\d\\$[sd]").findAll(text).map { it.value }.sorted().toList()

    @Test
    fun `Korean says all that English says, with the same parts`() {
        val (english, korean) = texts("values") to texts("values-ko")
        assertEquals(english.keys, korean.keys)
        for ((key, texts) in english) {
            for (text in korean.getValue(key)) assertEquals(key, places(texts.last()), places(text))
        }
    }

    @Test
    fun `Korean sentences are Korean`() {
        val sentences = texts("values-ko").values.flatten().filter { it.length > 24 }
        val foreign = sentences.filter { text -> text.none { it in '\uac00'..'\ud7a3' } }
        assertTrue("$foreign", sentences.size > 20 && foreign.all { it.startsWith("%1\$s") })
    }

    @Test
    fun `no layout has a text of its own`() {
        val layouts = resources.walk().filter { it.parentFile.name.startsWith("layout") && it.isFile }
        val own = layouts.flatMap { file ->
            Regex("android:(text|hint|contentDescription|title)=\"(?!@)[^\"]*\"")
                .findAll(file.readText()).map { "${file.name}: ${it.value}" }
        }
        assertEquals(emptyList<String>(), own.toList())
    }

    @Test
    fun `every text is used`() {
        val sources = File("src/main").walk()
            .filter { it.extension in setOf("kt", "xml") && it.name != "strings.xml" }
            .joinToString("\n") { it.readText() }
        val unused = texts("values").keys.filter { key ->
            !Regex("(@string/|R\\.string\\.|R\\.plurals\\.)$key\\b").containsMatchIn(sources)
        }
        assertEquals(emptyList<String>(), unused)
    }

    @Test
    fun `colours of the night are those of the day`() {
        fun names(folder: String) = elements(File(resources, "$folder/colours.xml"), "color")
            .map { it.getAttribute("name") }
        val same = listOf("launcher", "stage", "on_stage", "on_stage_muted")
        assertEquals(names("values") - same.toSet(), names("values-night"))
    }

    @Test
    fun `the app asks for the camera alone`() {
        val manifest = File("src/main/AndroidManifest.xml")
        val asked = elements(manifest, "uses-permission")
            .filter { it.getAttribute("tools:node") != "remove" }
            .map { it.getAttribute("android:name") }
        assertEquals(listOf("android.permission.CAMERA"), asked)
        val needed = elements(manifest, "uses-feature")
            .filter { it.getAttribute("android:required") != "false" }
        assertEquals(emptyList<Element>(), needed)
    }
}
